"""Messages as HTML and as plain text: GitHub's Markdown without HTML, parsed by markdown-it-py.

The server makes the HTML, so that what a person sees is decided in one place, can be tested without a browser, and
does not depend on what a page's own Markdown can draw (docs/adr/0014-messages-are-drawn-by-the-server.md). All text is
escaped; elements, attributes and links are those that are made here, and no others.
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
"""Characters of a message that are formatted; a longer one is shown as plain text."""
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
_parsing = Lock()
"""linkify-it-py keeps what it has found in itself."""


def to_html(text: str, *, growing: bool = False) -> tuple[str, ...]:
    """Return the HTML of a message, one string for each block at its top level.

    A text that is nested too deeply for the parser, too long, of which nothing would be seen, or that makes the parser
    fail is one block of plain text under a line that says so. `growing`: leave out the colours of code, which cost most
    and change with every letter.
    """
    if len(text) > MAX_FORMATTED:
        return (_plain_block(text),)
    try:
        tokens = _parse(text)
        if tokens is None or not _is_seen(tokens):
            return (_plain_block(text),)
        return tuple(_render(block, growing=growing) for block in top_level(tokens))
    except Exception:
        _logger.exception("A message of %d characters could not be formatted", len(text))
        return (_plain_block(text),)


def to_text(text: str) -> str:
    """Return what is read of a message when it is formatted: its text without the marks of Markdown."""
    tokens = _parse(text) if len(text) <= MAX_FORMATTED else None
    return text if tokens is None else "\n".join(_texts(tokens))


def top_level(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Split the tokens of a document into those of its blocks at the top level."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def last_block_start(text: str) -> int | None:
    """Return where the last block begins, as an index into the text; None when there is only one.

    A block is one at the top level, or an item of a list there. CommonMark never opens a closed block again, and a
    formula takes what stands in it when it ends: what comes before that index stays as it is, whatever follows.
    """
    if len(text) > MAX_FORMATTED:
        return None
    lines = text.replace("\r\n", " \n").replace("\r", "\n")  # as the parser sees them, and as long as the text
    lines = lines[: lines.rfind("\n") + 1]  # a line that grows may still turn out to be something else
    tokens = _parser.block_tokens(lines)
    starts = [token.map[0] for token in tokens if token.map and _begins_block(token)]
    last = _unfinished_formula(lines, tokens)
    earlier = [start for start in starts if last is None or start <= last]
    return _line_start(lines, earlier[-1]) if earlier and earlier[-1] > 0 else None


def _unfinished_formula(text: str, tokens: Sequence[Token]) -> int | None:
    """Return the first line that may turn out to begin a formula, with all that follows it; None if there is none."""
    whole = {line for token in tokens if token.type == "math_block" and token.map for line in range(*token.map)}
    lines = text.split("\n")
    begins = (
        number
        for number, line in enumerate(lines)
        if number not in whole and line.lstrip(" \t>-+*0123456789.)").startswith(("$$", "\\["))
    )
    return next((number for number in begins if len(lines) - number <= markdown_rules.MAX_LINES + 1), None)


def _begins_block(token: Token) -> bool:
    return (token.level == 0 and token.nesting >= 0) or (token.level == 1 and token.type == "list_item_open")


def _line_start(text: str, line: int) -> int:
    position = 0
    for _ in range(line):
        position = text.index("\n", position) + 1
    return position


class _Parser(MarkdownIt):
    """GitHub's Markdown, with the rules of messages and without HTML."""

    def __init__(self) -> None:
        super().__init__("gfm-like", {"html": False, "breaks": True})
        # A name such as main.py is no address, although .py is a country.
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
        """Return the tokens of the blocks alone, which cost a fraction of all."""
        tokens: list[Token] = []
        self.block.parse(_normalized(text), self, {}, tokens)
        return tokens


def _normalized(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _parse(text: str) -> list[Token] | None:
    """Return the tokens of a text; None when it is nested so deeply that the parser would lose some of it."""
    with _parsing:
        tokens = _parser.parse(_normalized(text))
    deepest = max((token.level + 1 for token in tokens if token.nesting == 1), default=0)
    return None if deepest >= _parser.options.maxNesting else tokens


def _is_seen(tokens: Iterable[Token]) -> bool:
    """Return whether a reader sees anything: a letter, a line, or a link to a picture."""
    tokens = list(tokens)
    kinds = {child.type for token in tokens for child in token.children or []} | {token.type for token in tokens}
    return bool({"hr", "link_open"} & kinds) or any(_has_ink(text) for text in _texts(tokens))


def _has_ink(text: str) -> bool:
    return any(not letter.isspace() and category(letter) not in ("Cf", "Cc") for letter in text)


def _render(tokens: Sequence[Token], *, growing: bool = False) -> str:
    return str(_parser.renderer.render(tokens, _parser.options, {"growing": growing}))


def _plain_block(text: str) -> str:
    return f'<p class="cf-not-formatted">{NOT_FORMATTED}</p><div class="cf-plain">{escape(text, quote=False)}</div>'


# What becomes of the tokens before they are drawn


def _prepare(tokens: list[Token]) -> None:
    for index, token in enumerate(tokens):
        if token.type in _CONTAINERS:
            token.attrSet("dir", _direction(token, islice(tokens, index + 1, None)))
        if (alignment := token.attrGet("style")) is not None:
            # Inline styles are what the policy of a page would rather not have.
            token.attrs.pop("style")
            token.attrSet("class", f"cf-{str(alignment).removeprefix('text-align:')}")
        if token.type == "inline":
            token.children = list(_children(token.children or []))


def _direction(container: Token, inside: Iterable[Token]) -> str:
    """Return the direction of a block: that of its first letter that has one (Unicode Bidirectional Algorithm, P2)."""
    for token in inside:
        if token.nesting == -1 and token.level == container.level:
            break
        for child in token.children or []:
            for letter in child.content if child.type != "code_inline" else "":
                if (kind := bidirectional(letter)) in ("L", "R", "AL"):
                    return "ltr" if kind == "L" else "rtl"
    return "auto"


def _children(children: Iterable[Token]) -> Iterator[Token]:
    """Links open in a new tab, and only addresses of the web and of mail are links; a picture is a link to it."""
    links = 0
    for token in children:
        links += token.nesting if token.type in ("link_open", "link_close") else 0
        if token.type == "link_open":
            _guard(token)
        if token.type == "image":
            yield from _picture(token, within_link=links > 0)
        else:
            yield token


def _guard(link: Token) -> None:
    if not str(link.attrGet("href")).lower().startswith(SCHEMES):
        link.attrs.pop("href")
        return
    link.attrSet("target", "_blank")
    link.attrSet("rel", "noopener noreferrer")


def _picture(image: Token, *, within_link: bool) -> Iterator[Token]:
    text = Token("text", "", 0, content=_joined(image.children or []))
    if within_link:
        yield text
        return
    opening = Token("link_open", "a", 1, attrs={"href": image.attrGet("src") or "", "class": "cf-picture"})
    _guard(opening)
    yield from (opening, text, Token("link_close", "a", -1))


# What is read


def _texts(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield _joined(token.children or [])
        elif token.content:
            yield token.content


def _joined(children: Iterable[Token]) -> str:
    return "".join("\n" if child.type in ("softbreak", "hardbreak") else child.content for child in children)


# What is drawn otherwise than markdown-it-py does


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
    """The source of a formula, which the page replaces by what KaTeX draws (assets/messages.js)."""
    token = tokens[index]
    source = escape(f"{token.markup}{token.content}{markdown_rules.CLOSING[token.markup]}")
    kind = "cf-math" if token.markup == "\\(" else "cf-math cf-display"
    return f'<{token.tag} class="{kind}" dir="ltr" data-tex="{escape(token.content.strip())}">{source}</{token.tag}>'


_parser = _Parser()
