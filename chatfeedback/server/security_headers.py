"""What every answer says to the browser: the headers that keep a page to itself.

The policy of Gradio's page is the strictest that Gradio 6.31 runs under; each of these was taken out and found missing
(docs/security.md has the reasons one by one). Scripts come from files of this server, or are inside the HTML and named
by their SHA-256: no other inline script runs, no handler in an attribute and no `javascript:` link. 'unsafe-eval' is
there because Gradio makes functions out of texts (every `gr.HTML`, `js=` of an event), 'unsafe-inline' for styles
because it sets them in place. Nothing is loaded from elsewhere, pictures in replies included: a picture's address
would tell its host what was said. Our own pages have no script at all.
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
"""The policy of what is no page of Gradio's."""


def headers(*, secure: bool) -> dict[str, str]:
    """What every answer carries. `secure`: whether the browser speaks TLS."""
    return {**ALWAYS, **(WITH_TLS if secure else {})}


def caching(path: str, status: int) -> dict[str, str]:
    """Return the Cache-Control header of an answer that has none of its own; none for static files without a hash.

    The name of each file of Gradio's build has a hash of its content, so browsers need not ask for it again.
    """
    if path.startswith("/assets/") and status == 200:
        return {"cache-control": "public, max-age=31536000, immutable"}
    return {} if path.startswith(("/assets/", "/static/")) else {"cache-control": "no-store"}


def source_hash(script: bytes) -> str:
    """How a policy names an inline script (CSP Level 3, 'sha256-…')."""
    # A browser folds line ends before it hashes.
    digest = hashlib.sha256(script.replace(b"\r\n", b"\n")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def inline_scripts(page: bytes) -> Iterator[bytes]:
    """What is inside the script elements of a page that have no `src`. (An expression would take ten times as long.)"""
    lower, end = page.lower(), 0
    while (start := lower.find(b"<script", end)) != -1:
        inside = lower.find(b">", start) + 1
        end = lower.find(b"</script", inside)
        if not inside or end == -1:
            return
        if not _SOURCE.search(lower, start, inside):
            yield page[inside:end]


def page_policy(page: bytes, more_scripts: Iterable[str]) -> str:
    """The policy of Gradio's page, which is in UTF-8. `more_scripts`: those that it puts into its head itself."""
    scripts = [*inline_scripts(page), *(script.encode() for script in more_scripts)]
    hashes = " ".join(source_hash(script) for script in scripts if script)
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' {hashes}; script-src-attr 'none'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
    )
