"""Proxy variables of the environment: made usable for the HTTP clients of this process, or refused in one sentence.

Gradio and huggingface_hub read them with httpx, our own clients with httpx2, some already at import. httpx fails on an
IPv6 address in brackets in NO_PROXY, which curl and others accept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address

import httpx
import httpx2

from chatfeedback.errors import SettingsError

_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy")
_EXCEPTIONS = ("NO_PROXY", "no_proxy")


def prepare() -> None:
    """Take IPv6 addresses in NO_PROXY out of their brackets. Raises SettingsError for an unusable variable."""
    for name in _EXCEPTIONS:
        if name in os.environ:
            os.environ[name] = ",".join(_without_brackets(entry.strip()) for entry in os.environ[name].split(","))
    for name in (*_PROXIES, *_EXCEPTIONS):
        if os.environ.get(name):
            _check(name)


def _without_brackets(entry: str) -> str:
    """Return the IPv6 address in an entry such as `[::1]`; any other entry unchanged.

    A zone or a port is left out: the exception then holds for more than was meant, but for nothing beyond this address.
    """
    address, bracket, rest = entry.removeprefix("[").partition("]")
    address = address.partition("%")[0]
    if not entry.startswith("[") or not bracket or (rest and not rest.startswith(":")):
        return entry
    try:
        return str(IPv6Address(address))
    except ValueError:
        return entry


def _check(name: str) -> None:
    others = [other for other in (*_PROXIES, *_EXCEPTIONS) if other != name]
    with _unset(others):
        try:
            for library in (httpx, httpx2):
                library.Client(verify=False).close()  # it sends nothing
        except (httpx.InvalidURL, httpx2.InvalidURL, ValueError, ImportError) as error:
            # Without the value: the address of a proxy may hold a password.
            what = "is no list of hosts" if name in _EXCEPTIONS else "is no address of a proxy"
            raise SettingsError(
                f"The environment variable {name} {what} that can be used here; correct it or unset it."
            ) from error


@contextmanager
def _unset(names: list[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
