"""Links that assign a conversation to a study: signed, so that a page cannot make up what is recorded.

The parameter `assignment` of a link is a JSON Web Token (RFC 7519) with the claims `study`, `condition` and
`external_id`, signed by HMAC-SHA256 with a key of this database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from chatfeedback.domain.conversation.events import Assignment
from chatfeedback.domain.text import sanitize
from chatfeedback.errors import InputError
from chatfeedback.store.accounts import secrets
from chatfeedback.store.database import migrate

PARAMETER = "assignment"
KEY = "links"
LONGEST = 200
"""Characters of a study, a condition or an external id."""
_ALGORITHM = "HS256"


def links(
    url: str, page: str, *, study: str | None = None, condition: str | None = None, external_ids: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a link to `page` for each external id, or one without; signed with the key of the database at `url`.

    Raises InputError for an assignment that says nothing or cannot be stored, SettingsError and StoreError.
    """
    assignment = Assignment(study=study, condition=condition)
    several = [replace(assignment, external_id=one) for one in external_ids] or [assignment]
    for one in several:
        _check_usable(one)
    with migrate.opened(url) as engine:
        key = secrets.get_or_create(engine, KEY)
    for one in several:
        yield f"{page.rstrip('/')}/?{urlencode({PARAMETER: signed(key, one)})}"


def signed(key: bytes, assignment: Assignment) -> str:
    """Return the token for an assignment."""
    claims = {name: value for name, value in asdict(assignment).items() if value is not None}
    return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(key))


def read(key: bytes, token: str) -> Assignment:
    """Return the assignment of a token. Raises InputError for one that was not signed with this key."""
    try:
        claims = jwt.decode(token, OctKey.import_key(key), algorithms=[_ALGORITHM]).claims
        return Assignment(**{name: claims.get(name) for name in asdict(Assignment())})
    except (JoseError, ValueError, TypeError) as error:
        raise InputError(
            "This link to a study is not valid, it may have been cut off; open it again as it was sent to you."
        ) from error


def _check_usable(assignment: Assignment) -> None:
    said = {name: value for name, value in asdict(assignment).items() if value is not None}
    if not said:
        raise InputError("A link needs a study, a condition or an external id.")
    for name, value in said.items():
        if not value.strip() or len(value) > LONGEST or sanitize(value)[1]:
            raise InputError(f"The {name.replace('_', ' ')} should be a text of 1 to {LONGEST} characters.")
