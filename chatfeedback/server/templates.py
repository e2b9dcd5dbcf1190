"""Templates of our own pages (sign-in, consent, admin): plain HTML without scripts, with autoescaping."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent / "templates"

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)


def _format_instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


_environment.filters["instant"] = _format_instant


def configure(title: str) -> None:
    """Set the title of all pages."""
    _environment.globals["title"] = title


def render(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """Render `template` with these values as a response."""
    return HTMLResponse(_environment.get_template(template).render(**values), status_code=status, headers=headers)
