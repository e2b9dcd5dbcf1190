"""Pseudonyms: the display name of an annotator, which is a pseudonym or their name.

A pseudonym shows that two rows are of the same person, but not who it is. It is a keyed hash of the annotator's id: it
can be neither computed nor tested against known ids without the key of the database. It lasts as long as the database;
in another database the same id has another pseudonym.
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
"""Name of the key in the database (`secrets`)."""
DisplayNames = Callable[[str], str]
"""Function from an annotator's id to their display name."""

_PREFIX = "annotator-"
_HASH_BYTES = 10


def pseudonym(key: bytes, annotator_id: str) -> str:
    """Return the pseudonym: `annotator-` and 16 letters and digits.

    They are 80 bits of HMAC-SHA256 (RFC 2104) in base32 (RFC 4648), lower case.
    """
    digest = hmac.digest(key, annotator_id.encode(), "sha256")
    return _PREFIX + b32encode(digest[:_HASH_BYTES]).decode().lower()


def pseudonyms(engine: Engine) -> DisplayNames:
    """Return pseudonyms as the display names.

    Generates the key if needed; raises as `secrets.get_or_create` does.
    """
    key = secrets.get_or_create(engine, KEY)
    return partial(pseudonym, key)


def names(engine: Engine) -> DisplayNames:
    """Return current names as the display names, or the id where there is no name.

    Raises StoreError, also when the returned function is called.
    """
    cache = annotators.names(engine)

    def name(annotator_id: str) -> str:
        if annotator_id not in cache:  # a new annotator, or one without a name
            cache.update({annotator_id: annotator_id} | annotators.names(engine))
        return cache[annotator_id]

    return name


def find(engine: Engine, identifier: str, *, by_name: bool = True) -> Annotator | None:
    """Return the annotator with this pseudonym, else this id, else, if `by_name`, this name; None if there is none.

    A name never stands in for another annotator's pseudonym or id. Raises StoreError.
    """
    if identifier.startswith(_PREFIX) and (key := secrets.find(engine, KEY)) is not None:
        for annotator_id, name in annotators.names(engine).items():
            if pseudonym(key, annotator_id) == identifier:
                return Annotator(annotator_id, name)
    annotator = annotators.find(engine, identifier)
    return annotator if annotator is None or by_name or annotator.annotator_id == identifier else None
