"""Every error that chatfeedback raises on purpose.

    ChatFeedbackError
    ├── SettingsError            a setting, flag or file cannot be used as it stands
    ├── InputError               what a person typed or chose cannot be accepted
    │   ├── MessageRejected      an empty, over-long or unprintable message
    │   ├── NotRateable          a rating for something that is not a reply with text
    │   └── NotOffered           an index or an option that was not there to be chosen
    ├── NotFound                 no such conversation, message, model or annotator
    ├── NotAllowed               it exists, but not for this person
    ├── NotSignedIn              it is not known who asks
    ├── SignInRefused            who wants to sign in could not be let in
    ├── ProviderUnavailable      the provider of sign-ins cannot be reached, or answers nonsense
    ├── TooMany                  more at once, or in a minute, than one person may
    ├── ServerEnding             this server takes no new work, because it is about to end
    ├── Conflict                 the conversation has moved on since the page was drawn
    │   └── ReplyRunning         a reply is still being written in this conversation
    ├── StoreError               the database refused, or cannot be reached
    │   ├── StoreUnavailable     it cannot be reached or written now; trying again may help
    │   │   └── ConnectionRefused  the server is there, and does not let us in
    │   ├── EventIdReused        an event id came back with other content
    │   ├── VersionTaken         somebody else appended this version first
    │   ├── SchemaBehind         the database needs `chatfeedback db upgrade`
    │   └── StoreCorrupt         the log, its guards or its projections are not as they must be
    └── ModelError               a reply could not be had from the model
        ├── ModelUnknown         the endpoint does not know this model
        ├── KeyRefused           the endpoint wants a key, or another one
        ├── RateLimited          too many requests, or the quota is used up
        ├── ModelTimeout         the endpoint did not answer in time
        ├── ModelUnreachable     nothing answers at the endpoint
        ├── StreamBroken         the connection ended in the middle of a reply
        ├── ContextExceeded      the messages do not fit into the model's window
        ├── EmptyReply           a reply came to its end, and there is nothing in it
        ├── ReplyEndless         a reply grew beyond what is kept of one
        └── ModelFailed          any other refusal or fault of the endpoint

Each message is one sentence that a person can act on; it never holds a secret. Errors of libraries are
translated into these at the seam where they are raised, and nowhere else.
"""

from __future__ import annotations


class ChatFeedbackError(Exception):
    """The root; `str(error)` is a sentence for a person."""


class SettingsError(ChatFeedbackError):
    """A setting, flag or file cannot be used as it stands."""


class InputError(ChatFeedbackError):
    """What a person typed or chose cannot be accepted."""


class MessageRejected(InputError):
    """An empty, over-long or unprintable message."""


class NotRateable(InputError):
    """A rating was given for something that is not a reply with text."""


class NotOffered(InputError):
    """An index or an option that was not there to be chosen: the page is old, or did not send this."""


class NotFound(ChatFeedbackError):
    """There is no such conversation, message, model or annotator."""


class NotAllowed(ChatFeedbackError):
    """It exists, but this person may not do this with it."""


class NotSignedIn(ChatFeedbackError):
    """It is not known who asks: nobody has signed in, or the session has ended."""

    def __init__(self) -> None:
        super().__init__("Sign in first: you have not signed in here, or your session has ended.")


class SignInRefused(ChatFeedbackError):
    """Who wants to sign in could not be let in."""


class ProviderUnavailable(ChatFeedbackError):
    """The provider of sign-ins cannot be reached, or answers nonsense; trying again may help."""


class TooMany(ChatFeedbackError):
    """More at once, or within a minute, than one person may ask for."""

    def __init__(self, sentence: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        """Seconds."""


class ServerEnding(ChatFeedbackError):
    """This server takes no new work, because it is about to end."""

    def __init__(self) -> None:
        super().__init__("This server is being restarted, so nothing was sent; send it again in a moment.")


class Conflict(ChatFeedbackError):
    """The conversation has moved on since the page that sent this was drawn."""


class ReplyRunning(Conflict):
    """A reply is still being written in this conversation."""

    def __init__(self) -> None:
        super().__init__("A reply is still being written; wait for it or press Stop.")


class StoreError(ChatFeedbackError):
    """The database refused something, or cannot be reached."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or written now; trying again may help."""


class ConnectionRefused(StoreUnavailable):
    """The database server is there, and does not let us in. `reason` is for whoever runs it: it has names in it."""

    def __init__(self, reason: str) -> None:
        super().__init__("The database refuses connections, so nothing was stored; try again in a moment.")
        self.reason = reason


class EventIdReused(StoreError):
    """An event id that is already stored came back with other content."""


class VersionTaken(StoreError):
    """Another writer appended this version of the conversation first."""


class SchemaBehind(StoreError):
    """The database has not been migrated to the schema that this version of chatfeedback needs."""


class StoreCorrupt(StoreError):
    """The log, its guards or its projections are not what they must be."""


class ModelError(ChatFeedbackError):
    """A reply could not be had from the model."""

    def __init__(self, sentence: str, *, transient: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.transient = transient
        """Whether the same request may succeed a moment later."""
        self.retry_after = retry_after
        """Seconds after which the endpoint wants to be asked again, where it says so."""


class ModelUnknown(ModelError):
    """The endpoint does not know this model."""


class KeyRefused(ModelError):
    """The endpoint wants a key, or another one."""


class RateLimited(ModelError):
    """Too many requests at once, or the quota is used up."""


class ModelTimeout(ModelError):
    """The endpoint did not answer in time."""


class ModelUnreachable(ModelError):
    """Nothing answers at the endpoint."""


class StreamBroken(ModelError):
    """The connection ended in the middle of a reply."""


class ContextExceeded(ModelError):
    """The messages do not fit into the model's window of tokens."""


class EmptyReply(ModelError):
    """A reply came to its end, and there is nothing in it."""


class ReplyEndless(ModelError):
    """A reply grew beyond what is kept of one."""


class ModelFailed(ModelError):
    """The endpoint refused or failed in a way that has no name of its own here."""
