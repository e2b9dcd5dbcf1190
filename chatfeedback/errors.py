"""The error tree: every error that chatfeedback raises on purpose.

    ChatFeedbackError
    ├── SettingsError            a setting, flag or file that cannot be used
    ├── InputError               input that cannot be accepted
    │   ├── MessageRejected      an empty, over-long or unprintable message
    │   ├── NotRateable          a rating of something that is not a reply with text
    │   └── NotOffered           an index or option that was not offered
    ├── NotFound                 no such conversation, message, model or annotator
    ├── NotAllowed               it exists, but the person lacks the permission
    ├── NotSignedIn              an unauthenticated request
    ├── SignInRefused            a sign-in that was refused
    ├── ProviderUnavailable      the OpenID provider is unreachable, or its response invalid
    ├── TooMany                  rate limit: more at once, or in a minute, than allowed
    ├── ServerEnding             shutdown: this server accepts no new work
    ├── Conflict                 the conversation has changed since the page was rendered
    │   └── ReplyRunning         a reply is still being generated in this conversation
    ├── StoreError               the database refused, or cannot be reached
    │   ├── StoreUnavailable     it cannot be reached or written now; a retry may help
    │   │   └── ConnectionRefused  the server is up, and refuses the connection
    │   ├── EventIdReused        an event id that is stored with other content
    │   ├── VersionTaken         another writer appended this version first
    │   ├── SchemaBehind         the database needs `chatfeedback db upgrade`
    │   └── StoreCorrupt         the log, its triggers or its projections are damaged
    └── ModelError               no reply from the model
        ├── ModelUnknown         the endpoint does not know this model
        ├── KeyRefused           the endpoint requires a key, or another one
        ├── RateLimited          too many requests, or the quota is used up
        ├── ModelTimeout         the endpoint did not answer in time
        ├── ModelUnreachable     the endpoint cannot be reached
        ├── StreamBroken         the connection ended in the middle of a reply
        ├── ContextExceeded      the messages do not fit into the context window
        ├── EmptyReply           a finished reply without text
        ├── ReplyEndless         a reply longer than the maximum that is stored
        └── ModelFailed          any other refusal or failure of the endpoint

Each message is one sentence that tells the user what to do; it never contains a secret. Errors of libraries are
translated into these at the seam where they are raised, and nowhere else.
"""

from __future__ import annotations

NO_CONVERSATION = "There is no such conversation."
"""Sentence of NotFound for an unknown or erased conversation."""


class ChatFeedbackError(Exception):
    """Root of the error tree; `str(error)` is a sentence for the user."""


class SettingsError(ChatFeedbackError):
    """A setting, flag or file that cannot be used."""


class InputError(ChatFeedbackError):
    """Input that cannot be accepted."""


class MessageRejected(InputError):
    """An empty, over-long or unprintable message."""


class NotRateable(InputError):
    """A rating of something that is not a reply with text."""


class NotOffered(InputError):
    """An index or option that was not offered: the page is outdated, or the request is not from a page."""


class NotFound(ChatFeedbackError):
    """No such conversation, message, model or annotator."""


class NotAllowed(ChatFeedbackError):
    """It exists, but the person lacks the permission for it."""


class NotSignedIn(ChatFeedbackError):
    """An unauthenticated request: no sign-in, or an expired session."""

    def __init__(self) -> None:
        super().__init__("Sign in first: you have not signed in here, or your session has ended.")


class SignInRefused(ChatFeedbackError):
    """A sign-in that was refused."""


class ProviderUnavailable(ChatFeedbackError):
    """The OpenID provider cannot be reached, or its response is invalid; a retry may help."""


class TooMany(ChatFeedbackError):
    """Rate limit: more at once, or within a minute, than one person may send."""

    def __init__(self, sentence: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        """Seconds."""


class ServerEnding(ChatFeedbackError):
    """Shutdown: this server accepts no new work."""

    def __init__(self) -> None:
        super().__init__("This server is being restarted, so nothing was sent; send it again in a moment.")


class Conflict(ChatFeedbackError):
    """The conversation has changed since the page that sent the request was rendered."""


class ReplyRunning(Conflict):
    """A reply is still being generated in this conversation."""

    def __init__(self) -> None:
        super().__init__("A reply is still being written; wait for it or press Stop.")


class StoreError(ChatFeedbackError):
    """The database refused a statement, or cannot be reached."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or written now; a retry may help."""


class ConnectionRefused(StoreUnavailable):
    """The database server is up, and refuses the connection. `reason` contains names: for the administrator only."""

    def __init__(self, reason: str) -> None:
        super().__init__("The database refuses connections, so nothing was stored; try again in a moment.")
        self.reason = reason


class EventIdReused(StoreError):
    """An event id that is already stored with other content."""


class VersionTaken(StoreError):
    """Another writer appended this version of the conversation first."""


class SchemaBehind(StoreError):
    """The database is at an older schema than this release needs."""


class StoreCorrupt(StoreError):
    """The log, its triggers or its projections are damaged."""


class ModelError(ChatFeedbackError):
    """No reply from the model."""

    def __init__(self, sentence: str, *, transient: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.transient = transient
        """True if a retry a moment later may succeed."""
        self.retry_after = retry_after
        """Seconds to wait before a retry, if the endpoint names them (Retry-After)."""


class ModelUnknown(ModelError):
    """The endpoint does not know this model."""


class KeyRefused(ModelError):
    """The endpoint requires an API key, or another one."""


class RateLimited(ModelError):
    """Too many requests at once, or the quota is used up."""


class ModelTimeout(ModelError):
    """The endpoint did not answer in time."""


class ModelUnreachable(ModelError):
    """The endpoint cannot be reached."""


class StreamBroken(ModelError):
    """The connection ended in the middle of a reply."""


class ContextExceeded(ModelError):
    """The messages do not fit into the model's context window."""


class EmptyReply(ModelError):
    """A finished reply without text."""


class ReplyEndless(ModelError):
    """A reply longer than the maximum that is stored."""


class ModelFailed(ModelError):
    """Any other refusal or failure of the endpoint."""
