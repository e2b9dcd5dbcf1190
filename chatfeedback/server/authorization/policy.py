"""Who may call what: every address that is answered, and every function of the pages. What is not here is refused.

One place decides, `gate.py`, by these two tables. A permission opens a thing for all of those whose role has it;
whether a conversation is one's own is asked where it is known, in `ChatService`. docs/security.md shows the tables.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chatfeedback.domain.roles import Open, Permission, Requirement


class Rule(NamedTuple):
    """Methods on an address, and what they need. `{}` in the address stands for one part of it, `{*}` for any rest."""

    methods: frozenset[str]
    address: str
    needs: Requirement
    unattended: bool = False
    """True for what pages ask by themselves: it does not keep a session alive."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the path must match as a whole."""
        escaped = re.escape(self.address)
        return re.compile(escaped.replace(r"\{\*\}", ".*").replace(r"\{\}", "[^/]+"))


_GET, _POST = frozenset({"GET", "HEAD"}), frozenset({"POST"})

ROUTES: tuple[Rule, ...] = (
    # Ours
    Rule(_GET, "/healthz", Open.ANYBODY),
    Rule(_GET, "/readyz", Open.ANYBODY),
    Rule(_GET, "/metrics", Open.ANYBODY),  # with the token of the metrics
    Rule(_GET, "/favicon.ico", Open.ANYBODY),
    Rule(_GET, "/pages/{}", Open.ANYBODY),  # the style sheet and the pictures of our own pages
    Rule(_GET | _POST, "/login", Open.ANYBODY),
    Rule(_GET, "/login/oidc", Open.ANYBODY),
    Rule(_GET, "/login/oidc/callback", Open.ANYBODY),
    Rule(_POST, "/logout", Open.SIGNED_IN),
    Rule(_GET | _POST, "/consent", Open.SIGNED_IN),
    Rule(_GET | _POST, "/password", Open.PAGE),
    Rule(_GET, "/export/{}", Permission.EXPORT),
    Rule(_GET, "/admin", Permission.ADMINISTER),
    Rule(_GET | _POST, "/admin/{*}", Permission.ADMINISTER),
    # The page
    Rule(_GET, "/", Open.PAGE),
    Rule(_GET, "/conversations/{}/version", Permission.CHAT, unattended=True),  # only of one's own
    Rule(_GET, "/config", Open.PAGE),
    Rule(_GET, "/theme.css", Open.ANYBODY),
    Rule(_GET, "/assets/{*}", Open.ANYBODY),
    Rule(_GET, "/static/{*}", Open.ANYBODY),
    Rule(_GET, "/manifest.json", Open.ANYBODY),
    Rule(_GET, "/gradio_api/startup-events", Open.PAGE),
    Rule(_GET, "/gradio_api/app_id", Open.PAGE),
    Rule(_GET, "/gradio_api/file={*}", Open.PAGE),  # only what the page itself shows
    Rule(_GET, "/gradio_api/heartbeat/{}", Open.PAGE),  # only with a session hash of one's own
    Rule(_GET, "/gradio_api/queue/data", Open.PAGE),  # the same
    Rule(_POST, "/gradio_api/queue/join", Open.PAGE),  # the same, and by the function, below
)


_COMPILED = tuple((rule, rule.pattern) for rule in ROUTES)


def rule_for(method: str, path: str) -> Rule | None:
    """The rule about a request; None: it is refused, as is every path that climbs."""
    if ".." in re.split(r"[/\\]", path):
        return None
    return next((rule for rule, pattern in _COMPILED if method in rule.methods and pattern.fullmatch(path)), None)
