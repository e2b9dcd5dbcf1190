"""KaTeX as it comes with Gradio: the files of its build, whose names change with each release."""

from __future__ import annotations

from pathlib import Path

import gradio

BUILD = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"


def meta() -> str:
    """Return the element that tells the page where KaTeX is; "" if this Gradio has none: formulas stay as written."""
    found = [next(iter(sorted(BUILD.glob(pattern))), None) for pattern in ("katex-*.js", "katex-*.css")]
    if None in found:
        return ""
    return f'<meta name="chatfeedback-katex" content="{" ".join(f"assets/{file.name}" for file in found if file)}">'
