"""Syntax highlighting of code by Pygments, which keeps every character of the text."""

from __future__ import annotations

from functools import lru_cache
from html import escape

from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_HIGHLIGHTED = 10_000
"""Longest code that is highlighted, in characters."""
_formatter = HtmlFormatter(nowrap=True, classprefix="cf-")


def to_html(code: str, language: str) -> str:
    """Return code as HTML; not highlighted if the language is unknown or the lexer would change the text."""
    lexer = _lexer(language.lower()) if language and len(code) <= MAX_HIGHLIGHTED else None
    tokens = list(lexer.get_tokens(code)) if lexer else []
    if "".join(text for _kind, text in tokens) != code or not code.endswith("\n"):
        return escape(code)
    pieces: list[str] = []
    _formatter.format(tokens, _ListWriter(pieces))
    return "".join(pieces)


class _ListWriter:
    """File-like object that appends to a list."""

    def __init__(self, pieces: list[str]) -> None:
        self.write = pieces.append


@lru_cache(maxsize=256)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
