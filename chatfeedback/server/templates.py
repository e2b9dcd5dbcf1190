"""Our own pages, of plain HTML: sign-in, consent, administration. They need no script; all text in them is escaped."""

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


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


_environment.filters["instant"] = _instant


def configure(title: str) -> None:
    """The title that all pages have."""
    _environment.globals["title"] = title


def render(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """The page that `template` makes of these values."""
    return HTMLResponse(_environment.get_template(template).render(**values), status_code=status, headers=headers)
