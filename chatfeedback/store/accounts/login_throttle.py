"""Failed sign-ins, counted: so that passwords cannot be guessed, on whichever process the guesses arrive.

An attempt counts before the password is looked at, and is taken back when it was right: guesses at the same moment
all count. It counts against three things, each with a limit of its own: this name from this address, this name from
anywhere, and this address whatever the name. What is stored are keyed hashes of them.

Whoever has one address of IPv6 has a network full of them: what counts is the network, the first 64 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import timedelta

from sqlalchemy import Engine, delete, func, insert, select

from chatfeedback.domain.types import new_id
from chatfeedback.store.database.clock import Clock, now
from chatfeedback.store.database.transactions import writing
from chatfeedback.store.schema import from_micros, sign_in_failures, to_micros

WINDOW = timedelta(minutes=15)
MAX_PER_NAME_AND_ADDRESS, MAX_PER_NAME, MAX_PER_ADDRESS = 5, 50, 100
"""Failures within the window. The limit of a name alone is wide, lest anybody lock somebody else out."""

_failures = sign_in_failures.c


class LoginThrottle:
    """Counts attempts to sign in. `key`: a secret of this database."""

    def __init__(self, engine: Engine, key: bytes, *, clock: Clock = now) -> None:
        self._engine = engine
        self._clock = clock
        self._key = key

    def begin(self, name: str, address: str) -> tuple[str, float]:
        """Counts an attempt; returns its id, and the seconds to wait where there were too many (then it is refused)."""
        attempt_id, now = new_id(), self._clock()
        address = _place(address)
        limits = {
            self._hashed("both", name.casefold(), address): MAX_PER_NAME_AND_ADDRESS,
            self._hashed("name", name.casefold()): MAX_PER_NAME,
            self._hashed("address", address): MAX_PER_ADDRESS,
        }
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE sign_in_failures IN SHARE ROW EXCLUSIVE MODE")
            connection.execute(delete(sign_in_failures).where(_failures.failed_at <= to_micros(now - WINDOW)))
            wait = 0.0
            for key, most in limits.items():
                of_key = select(func.count(), func.min(_failures.failed_at)).where(_failures.key == key)
                count, oldest = connection.execute(of_key).one()
                if count >= most:
                    wait = max(wait, (from_micros(oldest) + WINDOW - now).total_seconds())
            if wait <= 0:
                rows = [{"failure_id": attempt_id, "key": key, "failed_at": to_micros(now)} for key in limits]
                connection.execute(insert(sign_in_failures), rows)
        return attempt_id, wait

    def succeeded(self, attempt_id: str, name: str, address: str) -> None:
        """The password was right: this attempt does not count, nor do those before it from here."""
        here = self._hashed("both", name.casefold(), _place(address))
        with writing(self._engine) as connection:
            connection.execute(
                delete(sign_in_failures).where((_failures.failure_id == attempt_id) | (_failures.key == here))
            )

    def _hashed(self, *parts: str) -> str:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def _place(address: str) -> str:
    """What stands for an address: of IPv6 its network; the address itself where it is none that can be read."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))
