"""Code in colours, by Pygments. The text stays what it is, character by character."""

from __future__ import annotations

from functools import lru_cache
from html import escape

from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_COLOURED = 10_000
"""Characters of code that are coloured."""
_formatter = HtmlFormatter(nowrap=True, classprefix="cf-")


def to_html(code: str, language: str) -> str:
    """Return code as HTML; without colours where the language is not known or a lexer would change the text."""
    lexer = _lexer(language.lower()) if language and len(code) <= MAX_COLOURED else None
    tokens = list(lexer.get_tokens(code)) if lexer else []
    if "".join(text for _kind, text in tokens) != code or not code.endswith("\n"):
        return escape(code)
    pieces: list[str] = []
    _formatter.format(tokens, _Pieces(pieces))
    return "".join(pieces)


class _Pieces:
    """A file to write to that is a list."""

    def __init__(self, pieces: list[str]) -> None:
        self.write = pieces.append


@lru_cache(maxsize=256)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
