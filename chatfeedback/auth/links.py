"""Signed links that assign conversations to a study; the signature prevents forged assignments.

The parameter `assignment` of a link is a JSON Web Token (RFC 7519). Its claims are `study`, `condition` and
`external_id`; it is signed by HMAC-SHA256 with a key of this database.
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
MAX_CHARS = 200
"""Maximum length of a study, a condition or an external id."""
_ALGORITHM = "HS256"


def links(
    url: str, page: str, *, study: str | None = None, condition: str | None = None, external_ids: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a link to `page` for each external id, or one without; signed with the key of the database at `url`.

    Raises InputError for an assignment that is empty or cannot be stored, SettingsError and StoreError.
    """
    common = Assignment(study=study, condition=condition)
    assignments = [replace(common, external_id=external_id) for external_id in external_ids] or [common]
    for assignment in assignments:
        _check_assignment(assignment)
    with migrate.opened(url) as engine:
        key = secrets.get_or_create(engine, KEY)
    for assignment in assignments:
        yield f"{page.rstrip('/')}/?{urlencode({PARAMETER: sign(key, assignment)})}"


def sign(key: bytes, assignment: Assignment) -> str:
    """Sign an assignment and return its token."""
    claims = {name: value for name, value in asdict(assignment).items() if value is not None}
    return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(key))


def verify(key: bytes, token: str) -> Assignment:
    """Verify a token and return its assignment. Raises InputError if it was not signed with this key."""
    try:
        claims = jwt.decode(token, OctKey.import_key(key), algorithms=[_ALGORITHM]).claims
        return Assignment(**{name: claims.get(name) for name in asdict(Assignment())})
    except (JoseError, ValueError, TypeError) as error:
        raise InputError(
            "This link to a study is not valid, it may have been cut off; open it again as it was sent to you."
        ) from error


def _check_assignment(assignment: Assignment) -> None:
    values = {name: value for name, value in asdict(assignment).items() if value is not None}
    if not values:
        raise InputError("A link needs a study, a condition or an external id.")
    for name, value in values.items():
        if not value.strip() or len(value) > MAX_CHARS or sanitize(value)[1]:
            raise InputError(f"The {name.replace('_', ' ')} should be a text of 1 to {MAX_CHARS} characters.")
