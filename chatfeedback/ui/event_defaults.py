"""How every function of the page is called."""

from __future__ import annotations

from typing import Any

CALLED: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    # Values are checked at the gate (`calls.py`). Gradio would prepare them in threads, where two clicks could change
    # places, and would write into the log what it cannot make sense of.
    "preprocess": False,
}
