"""Security headers and the Content-Security-Policy (CSP) of every response.

The policy of Gradio's page is the strictest that Gradio 6.31 works with: without any one of these sources it fails
(docs/security.md gives the reasons one by one). Scripts are files of this server, or inline and allowed by their
SHA-256. No other inline script runs, no handler in an attribute and no `javascript:` link. Gradio needs 'unsafe-eval'
because it builds functions from text (every `gr.HTML`, `js=` of an event). It needs 'unsafe-inline' for styles because
it sets them on elements. Nothing is loaded from other hosts, not even images in replies: an image URL could tell its
host what was written. Our own pages have no script at all.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

_SOURCE = re.compile(rb"\ssrc=")

ALWAYS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
WITH_TLS: Mapping[str, str] = {"strict-transport-security": "max-age=31536000"}

OWN_PAGES = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every response except Gradio's page."""


def headers(*, secure: bool) -> dict[str, str]:
    """Return the headers of every response; `secure` if the browser uses TLS."""
    return {**ALWAYS, **(WITH_TLS if secure else {})}


def caching(path: str, status: int) -> dict[str, str]:
    """Return the Cache-Control header of a response that sets none itself; none for static files without a hash.

    The name of each file of Gradio's build contains a hash of its content, so browsers may cache it for ever.
    """
    if path.startswith("/assets/") and status == 200:
        return {"cache-control": "public, max-age=31536000, immutable"}
    return {} if path.startswith(("/assets/", "/static/")) else {"cache-control": "no-store"}


def source_hash(script: bytes) -> str:
    """Return the CSP source of an inline script (CSP Level 3, 'sha256-…')."""
    # Browsers normalise line ends before they hash.
    digest = hashlib.sha256(script.replace(b"\r\n", b"\n")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def inline_scripts(page: bytes) -> Iterator[bytes]:
    """Yield the content of each script element without `src`.

    A regular expression would take ten times as long.
    """
    lower, end = page.lower(), 0
    while (start := lower.find(b"<script", end)) != -1:
        content = lower.find(b">", start) + 1
        end = lower.find(b"</script", content)
        if not content or end == -1:
            return
        if not _SOURCE.search(lower, start, content):
            yield page[content:end]


def page_policy(page: bytes, more_scripts: Iterable[str]) -> str:
    """Return the policy of Gradio's page, which is in UTF-8.

    `more_scripts` are scripts that the page adds to its head in the browser, so that its HTML does not contain them.
    """
    scripts = [*inline_scripts(page), *(script.encode() for script in more_scripts)]
    hashes = " ".join(source_hash(script) for script in scripts if script)
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' {hashes}; script-src-attr 'none'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
    )
