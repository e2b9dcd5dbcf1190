"""What annotators are called where they are shown: by a pseudonym, or by their name.

A pseudonym tells that two rows are of the same person, and not of whom. It is a keyed hash of the annotator's id, so
nobody without the key of the database can compute it, or try it for the ids that there are. It lasts as long as the
database does, and in another database the same id has another one.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from chatfeedback.store.accounts import annotators, secrets
from chatfeedback.store.accounts.annotators import Annotator

KEY = "pseudonyms"
"""The name of the key in the database."""
DisplayNames = Callable[[str], str]
"""From an annotator's id to what is shown for it."""

_PREFIX = "annotator-"
_HASH_BYTES = 10


def pseudonym(key: bytes, annotator_id: str) -> str:
    """`annotator-` and 16 letters and digits: 80 bits of HMAC-SHA256 (RFC 2104) in base32 (RFC 4648), lower case."""
    digest = hmac.digest(key, annotator_id.encode(), "sha256")
    return _PREFIX + b32encode(digest[:_HASH_BYTES]).decode().lower()


def pseudonyms(engine: Engine) -> DisplayNames:
    """Everybody by their pseudonym. Makes the key at first need: raises what `keys.get_or_create` raises."""
    key = secrets.get_or_create(engine, KEY)
    return partial(pseudonym, key)


def names(engine: Engine) -> DisplayNames:
    """Everybody by their name of now, and by their id who has none. Raises StoreError, also when it is called."""
    known = annotators.names(engine)

    def name(annotator_id: str) -> str:
        if annotator_id not in known:  # somebody who came after the names were read, or is named no longer
            known.update({annotator_id: annotator_id} | annotators.names(engine))
        return known[annotator_id]

    return name


def find(engine: Engine, given: str, *, by_name: bool = True) -> Annotator | None:
    """The person with this pseudonym, else with this id, else, if `by_name`, of this name. None when there is nobody.

    A name never stands in for somebody else's pseudonym or id. Raises StoreError.
    """
    if given.startswith(_PREFIX) and (key := secrets.find(engine, KEY)) is not None:
        for annotator_id, name in annotators.names(engine).items():
            if pseudonym(key, annotator_id) == given:
                return Annotator(annotator_id, name)
    person = annotators.find(engine, given)
    return person if person is None or by_name or person.annotator_id == given else None
