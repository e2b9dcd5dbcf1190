"""Addresses of the chat completions of an OpenAI-compatible API, from its `base_url`."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs

_PATH = "/chat/completions"
_VERSION = re.compile(r"v\d\w*")


def completion_urls(base_url: SplitResult) -> tuple[str, ...]:
    """Return the URLs to try, the likeliest first. The query of `base_url` is kept.

    An address with a version, such as /v1, /v1beta/openai or /api/paas/v4, is complete, and so are deployments of
    Azure. Others may lack the /v1.
    """
    path = base_url.path.rstrip("/")
    plain, versioned = f"{path}{_PATH}", f"{path}/v1{_PATH}"
    segments = path.split("/")
    if path.endswith(_PATH):
        paths = [path]
    elif _VERSION.fullmatch(segments[-1]) or is_azure(base_url):
        paths = [plain]
    elif any(map(_VERSION.fullmatch, segments)):
        paths = [plain, versioned]
    else:
        paths = [versioned, plain]
    return tuple(base_url._replace(path=each, fragment="").geturl() for each in paths)


def is_azure(base_url: SplitResult) -> bool:
    """Return True for the address of Azure with an `api-version`, where a key has a header of its own, `api-key`."""
    return "api-version" in parse_qs(base_url.query, keep_blank_values=True)
