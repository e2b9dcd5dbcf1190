"""Query string of a URL: each parameter has one value."""

from __future__ import annotations

from collections.abc import Iterable

from chatfeedback.errors import InputError


def single_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the values of the parameters by name. Raises InputError for a name that is given more than once.

    Whichever of two values was taken, the other would be ignored silently.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise InputError(f"{name!r} is given more than once in the address; give it once.")
        values[name] = value
    return values
