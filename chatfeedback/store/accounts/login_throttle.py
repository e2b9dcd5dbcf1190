"""Login throttle: a limit on failed sign-ins against password guessing, shared by all processes.

An attempt is counted before the password is checked, and uncounted if the password was right: so concurrent guesses all
count. Each attempt counts against three keys with a limit each: the name from this address, the name from any address,
and the address with any name. Only keyed hashes of them are stored.

An IPv6 client usually controls a whole network, so the key is the network: the first 64 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import timedelta

from sqlalchemy import Engine, delete, func, insert, select

from chatfeedback.domain.types import new_id
from chatfeedback.store.database.clock import Clock, now
from chatfeedback.store.database.transactions import read_write
from chatfeedback.store.schema import from_micros, sign_in_failures, to_micros

WINDOW = timedelta(minutes=15)
"""Sliding window in which failures count."""
MAX_PER_NAME_AND_ADDRESS, MAX_PER_NAME, MAX_PER_ADDRESS = 5, 50, 100
"""Failures within the window. The limit per name alone is wide, so that an attacker cannot easily lock a user out."""

_failures = sign_in_failures.c


class LoginThrottle:
    """Counter of sign-in attempts.

    Args:
        engine: Engine of the database.
        key: Secret of this database for the hashes.
        clock: Clock for tests.
    """

    def __init__(self, engine: Engine, key: bytes, *, clock: Clock = now) -> None:
        self._engine = engine
        self._clock = clock
        self._key = key

    def begin(self, name: str, address: str) -> tuple[str, float]:
        """Count an attempt; return its id and the seconds to wait.

        If the seconds are more than 0, the attempt must be refused; it was not counted.
        """
        attempt_id, now = new_id(), self._clock()
        address = _normalize_address(address)
        limits = {
            self._hash("both", name.casefold(), address): MAX_PER_NAME_AND_ADDRESS,
            self._hash("name", name.casefold()): MAX_PER_NAME,
            self._hash("address", address): MAX_PER_ADDRESS,
        }
        with read_write(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE sign_in_failures IN SHARE ROW EXCLUSIVE MODE")
            connection.execute(delete(sign_in_failures).where(_failures.failed_at <= to_micros(now - WINDOW)))
            wait = 0.0
            for key, limit in limits.items():
                of_key = select(func.count(), func.min(_failures.failed_at)).where(_failures.key == key)
                count, oldest = connection.execute(of_key).one()
                if count >= limit:
                    wait = max(wait, (from_micros(oldest) + WINDOW - now).total_seconds())
            if wait <= 0:
                rows = [{"failure_id": attempt_id, "key": key, "failed_at": to_micros(now)} for key in limits]
                connection.execute(insert(sign_in_failures), rows)
        return attempt_id, wait

    def succeeded(self, attempt_id: str, name: str, address: str) -> None:
        """Uncount this attempt, whose password was right, and the earlier ones for this name from this address."""
        key = self._hash("both", name.casefold(), _normalize_address(address))
        with read_write(self._engine) as connection:
            connection.execute(
                delete(sign_in_failures).where((_failures.failure_id == attempt_id) | (_failures.key == key))
            )

    def _hash(self, *parts: str) -> str:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def _normalize_address(address: str) -> str:
    """Return the network of an IPv6 address, the IPv4 address of a mapped one, else the address unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
