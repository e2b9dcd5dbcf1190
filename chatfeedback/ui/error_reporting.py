"""What nobody foresaw while a function of the page was called: one record of our log, one sentence on the page.

Gradio itself would print a bare traceback, and cover everything that the call is about with an error that tells
nothing and takes every click, until `page.js` loads the page again: then a comment or an edit that was typed and not
stored would be lost. So such a call is answered like one that changes nothing. What Gradio has to say to people
(`gr.Error`) passes.
"""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from asgi_correlation_id import correlation_id

from chatfeedback.ui.blocks import SparseUpdateBlocks

log = logging.getLogger(__name__)

SENTENCE = "Something went wrong here; try again, and reload the page if that does not help."


class ErrorReportingBlocks(SparseUpdateBlocks):
    """`SparseUpdateBlocks` that tell of faults, whatever kind of function it is and whatever it returned."""

    async def process_api(self, block_fn: Any, *given: Any, **call: Any) -> dict[str, Any]:
        """One call of a function, or the next update of one that streams. Called by Gradio, with names."""
        request: gr.Request | None = call.get("request")
        if request is not None and request.request is not None:
            # Gradio calls functions from tasks of its own, which know nothing of the request.
            correlation_id.set(request.request.headers.get("x-request-id"))
        try:
            return await super().process_api(block_fn, *given, **call)
        except gr.Error:
            raise
        except Exception:
            log.exception("the handler %s failed", block_fn.fn.__qualname__)
        # As `gr.Warning`, which knows the call only where the function itself runs.
        self._queue.log_message(call.get("event_id") or "", SENTENCE, title="Warning", level="warning")
        unchanged = [None if block.stateful else gr.skip() for block in block_fn.outputs]
        # Gradio closes the iterator, as it does after an error.
        return {"data": unchanged, "is_generating": False, "iterator": call.get("iterator")}
