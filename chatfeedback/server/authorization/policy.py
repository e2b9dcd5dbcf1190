"""Access policy: the rule of every path. A path without a rule is refused (default deny).

The access middleware (`middleware.py`) enforces the policy. Page functions declare their own rule as an action
(`ui/actions.py`). A permission admits all users whose role has it; `ChatService` checks who owns a conversation.
docs/security.md shows both tables.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chatfeedback.domain.roles import Open, Permission, Requirement


class Rule(NamedTuple):
    """Rule: the requirement of some methods on a path. In the path, `{}` matches one segment and `{*}` any rest."""

    methods: frozenset[str]
    address: str
    requirement: Requirement
    unattended: bool = False
    """True for requests that pages send without the user: they do not keep a session alive."""
    embeddable: bool = False
    """True for files that are parts of a page: scripts, styles, images. An image in a message can request no others."""
    is_stream: bool = False
    """True for responses that may last long: they end when the user may no longer have them."""
    has_effect: bool = False
    """True for a GET that is recorded in the audit log: like a POST, no page of another site can cause it."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression that must match the whole path."""
        escaped = re.escape(self.address)
        return re.compile(escaped.replace(r"\{\*\}", ".*").replace(r"\{\}", "[^/]+"))


_GET, _POST = frozenset({"GET", "HEAD"}), frozenset({"POST"})

ROUTES: tuple[Rule, ...] = (
    # Our own routes
    Rule(_GET, "/healthz", Open.PUBLIC),
    Rule(_GET, "/readyz", Open.PUBLIC),
    Rule(_GET, "/metrics", Open.PUBLIC),  # the route itself requires the metrics token
    Rule(_GET, "/favicon.ico", Open.PUBLIC, embeddable=True),
    Rule(_GET, "/pages/{}", Open.PUBLIC, embeddable=True),  # style sheet and images of our own pages
    Rule(_GET | _POST, "/login", Open.PUBLIC),
    Rule(_GET, "/login/oidc", Open.PUBLIC),
    Rule(_GET, "/login/oidc/callback", Open.PUBLIC),
    Rule(_POST, "/logout", Open.SIGNED_IN),
    Rule(_GET | _POST, "/consent", Open.SIGNED_IN),
    Rule(_GET | _POST, "/password", Open.PAGE),
    Rule(_GET, "/export/{}", Permission.EXPORT, has_effect=True, is_stream=True),
    Rule(_GET, "/admin", Permission.ADMINISTER),
    Rule(_GET | _POST, "/admin/{*}", Permission.ADMINISTER),
    # The Gradio page
    Rule(_GET, "/", Open.PAGE),
    Rule(_GET, "/conversations/{}/version", Permission.CHAT, unattended=True),  # only the user's own conversations
    Rule(_GET, "/config", Open.PAGE),
    Rule(_GET, "/theme.css", Open.PUBLIC, embeddable=True),
    Rule(_GET, "/assets/{*}", Open.PUBLIC, embeddable=True),
    Rule(_GET, "/static/{*}", Open.PUBLIC, embeddable=True),
    Rule(_GET, "/manifest.json", Open.PUBLIC, embeddable=True),
    Rule(_GET, "/gradio_api/startup-events", Open.PAGE),
    Rule(_GET, "/gradio_api/app_id", Open.PAGE),
    Rule(_GET, "/gradio_api/file={*}", Open.PAGE, embeddable=True),  # only files that the page itself shows
    Rule(_GET, "/gradio_api/heartbeat/{}", Open.PAGE, is_stream=True),  # only with a session hash of the user
    Rule(_GET, "/gradio_api/queue/data", Open.PAGE, is_stream=True),  # the same
    Rule(_POST, "/gradio_api/queue/join", Open.PAGE),  # the same, and the requirement of the action
)


_COMPILED = tuple((rule, rule.pattern) for rule in ROUTES)


def rule_for(method: str, path: str) -> Rule | None:
    """Return the rule for a request; None refuses it, as for every path with `..`."""
    if ".." in re.split(r"[/\\]", path):
        return None
    return next((rule for rule, pattern in _COMPILED if method in rule.methods and pattern.fullmatch(path)), None)
