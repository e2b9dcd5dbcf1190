"""Actions: what each function of the page needs."""

from __future__ import annotations

from chatfeedback.domain.roles import Open, Permission, Requirement

FUNCTIONS: dict[str, Requirement] = {
    "AccountHandlers.load": Open.PAGE,
    "AccountHandlers.begin_with_figures": Open.PAGE,
    # These two do nothing for somebody who may not chat.
    "ChatHandlers.load": Open.PAGE,
    "ChatHandlers.unload": Open.PAGE,
    "open_sidebar": Open.PAGE,
    "wake": Open.PAGE,
    "ChatHandlers.send": Permission.CHAT,
    "ChatHandlers.stop": Permission.CHAT,
    "ChatHandlers.retry": Permission.CHAT,
    "ChatHandlers.undo": Permission.CHAT,
    "ChatHandlers.edit": Permission.CHAT,
    "ChatHandlers.new": Permission.CHAT,
    "ChatHandlers.open": Permission.CHAT,
    "ChatHandlers.earlier": Permission.CHAT,
    "ChatHandlers.view_previous": Permission.CHAT,
    "ChatHandlers.view_following": Permission.CHAT,
    "ChatHandlers.keep": Permission.CHAT,
    "ChatHandlers.put_back": Permission.CHAT,
    "FeedbackHandlers.like": Permission.CHAT,
    "FeedbackHandlers.take_back": Permission.CHAT,
    "FeedbackHandlers.select": Permission.CHAT,
    "FeedbackHandlers.open_last": Permission.CHAT,
    "FeedbackHandlers.choose_reason": Permission.CHAT,
    "FeedbackHandlers.type_comment": Permission.CHAT,
    "FeedbackHandlers.leave_comment": Permission.CHAT,
    "FeedbackHandlers.close": Permission.CHAT,
    "FeedbackHandlers.keep": Permission.CHAT,
    "FeedbackHandlers.send_again": Permission.CHAT,
    "FeedbackHandlers.follow": Permission.CHAT,
    # Of everybody for those who may see all, else of oneself.
    "AnalyticsHandlers.refresh": Permission.SEE_OWN,
    "AnalyticsHandlers.watch": Permission.SEE_OWN,
    "AnalyticsHandlers.tick": Permission.SEE_OWN,
    "AnalyticsHandlers.newer": Permission.SEE_OWN,
    "AnalyticsHandlers.older": Permission.SEE_OWN,
    "AnalyticsHandlers.open": Permission.SEE_OWN,
    "AnalyticsHandlers.close": Permission.SEE_OWN,
}
"""By the qualified name of the handler."""
