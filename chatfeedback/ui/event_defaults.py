"""Defaults of every event listener of the page."""

from __future__ import annotations

from typing import Any

EVENT_DEFAULTS: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    # `Action.accepts` has checked the values. Gradio would preprocess them in threads, where two clicks could change
    # places, and would log the values that it rejects.
    "preprocess": False,
}
