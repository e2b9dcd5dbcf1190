"""Markdown of messages to HTML and to plain text: GitHub's Markdown without HTML, parsed by markdown-it-py.

The server generates the HTML. So one place decides about the display, tests need no browser, and the limits of Gradio's
own Markdown do not matter (docs/adr/0014-messages-are-drawn-by-the-server.md). All text is escaped; the only elements,
attributes and links are those that this module generates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import islice
from threading import Lock
from typing import Any
from unicodedata import bidirectional, category

from markdown_it import MarkdownIt
from markdown_it.token import Token

from chatfeedback.ui.chat import highlighting, markdown_rules

MAX_FORMATTED = 100_000
"""Longest message that is formatted, in characters; a longer one is shown as plain text."""
SCHEMES = ("http:", "https:", "mailto:")
NOT_FORMATTED = "This message could not be formatted. It is shown as plain text."
_CONTAINERS = (
    "paragraph_open",
    "heading_open",
    "list_item_open",
    "blockquote_open",
    "table_open",
    "th_open",
    "td_open",
)
_logger = logging.getLogger(__name__)
_parse_lock = Lock()
"""linkify-it-py stores its matches in the shared instance, so it is not thread-safe."""


def to_html(text: str, *, growing: bool = False) -> tuple[str, ...]:
    """Return the HTML of a message, one string for each top-level block.

    A text becomes one block of plain text with a note if it is too long, too deeply nested for the parser, would be
    invisible, or makes the parser fail. `growing`: omit the syntax highlighting of code, which costs most and changes
    with every letter.
    """
    if len(text) > MAX_FORMATTED:
        return (_plain_block(text),)
    try:
        tokens = _parse(text)
        if tokens is None or not _is_visible(tokens):
            return (_plain_block(text),)
        return tuple(_render(block, growing=growing) for block in top_level(tokens))
    except Exception:
        _logger.exception("A message of %d characters could not be formatted", len(text))
        return (_plain_block(text),)


def to_text(text: str) -> str:
    """Return the visible text of a formatted message, without Markdown syntax."""
    tokens = _parse(text) if len(text) <= MAX_FORMATTED else None
    return text if tokens is None else "\n".join(_texts(tokens))


def top_level(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Split the tokens of a document by top-level block."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def last_block_start(text: str) -> int | None:
    """Return the index in the text at which the last block begins; None if there is only one block.

    A block is a top-level block or an item of a top-level list. CommonMark never reopens a closed block, and a formula
    absorbs its content only when it ends. So the text before the index keeps its HTML, whatever follows.
    """
    if len(text) > MAX_FORMATTED:
        return None
    lines = text.replace("\r\n", " \n").replace("\r", "\n")  # newlines as in the parser, at the same indexes
    lines = lines[: lines.rfind("\n") + 1]  # an unfinished line may still become another kind of block
    tokens = _parser.block_tokens(lines)
    starts = [token.map[0] for token in tokens if token.map and _begins_block(token)]
    formula = _unfinished_formula(lines, tokens)
    final = [start for start in starts if formula is None or start <= formula]
    return _line_start(lines, final[-1]) if final and final[-1] > 0 else None


def _unfinished_formula(text: str, tokens: Sequence[Token]) -> int | None:
    """Return the number of the first line that may begin a formula without an end yet; None if there is none."""
    finished = {line for token in tokens if token.type == "math_block" and token.map for line in range(*token.map)}
    lines = text.split("\n")
    candidates = (
        number
        for number, line in enumerate(lines)
        if number not in finished and line.lstrip(" \t>-+*0123456789.)").startswith(("$$", "\\["))
    )
    return next((number for number in candidates if len(lines) - number <= markdown_rules.MAX_LINES + 1), None)


def _begins_block(token: Token) -> bool:
    return (token.level == 0 and token.nesting >= 0) or (token.level == 1 and token.type == "list_item_open")


def _line_start(text: str, line: int) -> int:
    position = 0
    for _ in range(line):
        position = text.index("\n", position) + 1
    return position


class _Parser(MarkdownIt):
    """Parser of GitHub's Markdown, with the rules of `markdown_rules` and without HTML."""

    def __init__(self) -> None:
        super().__init__("gfm-like", {"html": False, "breaks": True})
        # A file name such as main.py is not a URL, although .py is a top-level domain.
        self.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]
        markdown_rules.install(self)
        self.core.ruler.push("chatfeedback", lambda state: _prepare(state.tokens))
        for name, rule in {
            "fence": _fence,
            "code_block": _fence,
            "code_inline": _code_inline,
            "math_block": _math,
            "math_inline": _math,
        }.items():
            self.renderer.rules[name] = rule  # type: ignore[attr-defined]

    def block_tokens(self, text: str) -> list[Token]:
        """Return only the tokens of the blocks, which cost a fraction of a full parse."""
        tokens: list[Token] = []
        self.block.parse(_normalized(text), self, {}, tokens)
        return tokens


def _normalized(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _parse(text: str) -> list[Token] | None:
    """Return the tokens of a text; None if it is nested so deeply that the parser would drop parts of it."""
    with _parse_lock:
        tokens = _parser.parse(_normalized(text))
    deepest = max((token.level + 1 for token in tokens if token.nesting == 1), default=0)
    return None if deepest >= _parser.options.maxNesting else tokens


def _is_visible(tokens: Iterable[Token]) -> bool:
    """Return True if anything is visible: a letter, a line, or a link to an image."""
    tokens = list(tokens)
    kinds = {child.type for token in tokens for child in token.children or []} | {token.type for token in tokens}
    return bool({"hr", "link_open"} & kinds) or any(_has_ink(text) for text in _texts(tokens))


def _has_ink(text: str) -> bool:
    return any(not letter.isspace() and category(letter) not in ("Cf", "Cc") for letter in text)


def _render(tokens: Sequence[Token], *, growing: bool = False) -> str:
    return str(_parser.renderer.render(tokens, _parser.options, {"growing": growing}))


def _plain_block(text: str) -> str:
    return f'<p class="cf-not-formatted">{NOT_FORMATTED}</p><div class="cf-plain">{escape(text, quote=False)}</div>'


# Changes of the tokens before rendering


def _prepare(tokens: list[Token]) -> None:
    for index, token in enumerate(tokens):
        if token.type in _CONTAINERS:
            token.attrSet("dir", _direction(token, islice(tokens, index + 1, None)))
        if (alignment := token.attrGet("style")) is not None:
            # Classes instead of inline styles, which a strict Content-Security-Policy forbids.
            token.attrs.pop("style")
            token.attrSet("class", f"cf-{str(alignment).removeprefix('text-align:')}")
        if token.type == "inline":
            token.children = list(_children(token.children or []))


def _direction(container: Token, following: Iterable[Token]) -> str:
    """Return the text direction of a block: that of its first strong letter (Unicode Bidirectional Algorithm, P2)."""
    for token in following:
        if token.nesting == -1 and token.level == container.level:
            break
        for child in token.children or []:
            for letter in child.content if child.type != "code_inline" else "":
                if (bidi_class := bidirectional(letter)) in ("L", "R", "AL"):
                    return "ltr" if bidi_class == "L" else "rtl"
    return "auto"


def _children(children: Iterable[Token]) -> Iterator[Token]:
    """Yield inline tokens: links only with the schemes of `SCHEMES`, in a new tab; an image becomes a link to it."""
    link_depth = 0
    for token in children:
        link_depth += token.nesting if token.type in ("link_open", "link_close") else 0
        if token.type == "link_open":
            _secure_link(token)
        if token.type == "image":
            yield from _image_link(token, within_link=link_depth > 0)
        else:
            yield token


def _secure_link(link: Token) -> None:
    if not str(link.attrGet("href")).lower().startswith(SCHEMES):
        link.attrs.pop("href")
        return
    link.attrSet("target", "_blank")
    link.attrSet("rel", "noopener noreferrer")


def _image_link(image: Token, *, within_link: bool) -> Iterator[Token]:
    text = Token("text", "", 0, content=_joined(image.children or []))
    if within_link:
        yield text
        return
    opening = Token("link_open", "a", 1, attrs={"href": image.attrGet("src") or "", "class": "cf-picture"})
    _secure_link(opening)
    yield from (opening, text, Token("link_close", "a", -1))


# Plain text


def _texts(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield _joined(token.children or [])
        elif token.content:
            yield token.content


def _joined(children: Iterable[Token]) -> str:
    return "".join("\n" if child.type in ("softbreak", "hardbreak") else child.content for child in children)


# Render rules that replace those of markdown-it-py


def _fence(tokens: Sequence[Token], index: int, _options: Any, env: Any) -> str:
    token = tokens[index]
    language = (token.info.split() or [""])[0]
    code = escape(token.content) if env.get("growing") else highlighting.to_html(token.content, language)
    return (
        '<div class="cf-code"><button type="button" class="cf-copy" aria-label="Copy code" title="Copy code"></button>'
        f'<pre dir="ltr" tabindex="0"><code>{code}</code></pre></div>\n'
    )


def _code_inline(tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    return f'<code dir="ltr">{escape(tokens[index].content)}</code>'


def _math(tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    """Return the source of a formula; the page replaces it by the output of KaTeX (assets/messages.js)."""
    token = tokens[index]
    source = escape(f"{token.markup}{token.content}{markdown_rules.CLOSING[token.markup]}")
    classes = "cf-math" if token.markup == "\\(" else "cf-math cf-display"
    return f'<{token.tag} class="{classes}" dir="ltr" data-tex="{escape(token.content.strip())}">{source}</{token.tag}>'


_parser = _Parser()
