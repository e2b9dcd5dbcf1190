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
from collections.abc import Iterable, Mapping

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)

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


def source_hash(script: str) -> str:
    """How a policy names an inline script (CSP Level 3, 'sha256-…')."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def page_policy(html: str, more_scripts: Iterable[str]) -> str:
    """The policy of Gradio's page. `more_scripts`: those that the page itself puts into its head."""
    # A browser folds line ends before it hashes.
    inline = [script.replace("\r\n", "\n") for script in _INLINE_SCRIPT.findall(html)]
    hashes = " ".join(source_hash(script) for script in [*inline, *more_scripts] if script)
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' {hashes}; script-src-attr 'none'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
    )
