"""Markdown rules of messages beyond GitHub's Markdown: mathematics, and four tags without attributes.

Each rule consumes a complete match or leaves all of it to the other rules: no character is lost.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
"""End delimiter of a formula, by start delimiter."""
MAX_LINES = 100
"""Lines of a block formula."""
MAX_CHARACTERS = 5000
"""Characters of a formula or a pair of tags in a paragraph. Bounds the search for a missing end delimiter."""
_OPENING_TAG = re.compile(r"<(kbd|sub|sup)>", re.IGNORECASE)
_CLOSING_TAGS = {name: re.compile(f"</{name}>", re.IGNORECASE) for name in ("kbd", "sub", "sup")}
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def install(parser: MarkdownIt) -> None:
    """Add the rules to a parser. Token types: `math_block`, `math_inline`, `hardbreak`, `tag_open`, `tag_close`."""
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "math_block", _math_block, interrupts)
    parser.inline.ruler.before("escape", "math_inline", _math_inline)
    parser.inline.ruler.before("autolink", "tag", _tag)


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""Match a formula that begins a line and ends one: `$$…$$` or `\[…\]`."""
    if state.is_code_block(start):
        return False
    begin = state.bMarks[start] + state.tShift[start]
    opening = state.src[begin : begin + 2]
    if opening not in ("$$", "\\["):
        return False
    for line in range(start, min(end, start + MAX_LINES)):
        if line > start and not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return False
        search_from = begin + 2 if line == start else state.bMarks[line]
        closing_at = state.src.find(CLOSING[opening], search_from, state.eMarks[line])
        if closing_at < 0:
            continue
        source = state.getLines(start, line + 1, state.sCount[start], False).strip()[2:].rstrip()[:-2]
        if state.src[closing_at + 2 : state.eMarks[line]].strip() or not source.strip():
            return False
        if not silent:
            token = state.push("math_block", "div", 0)
            token.block, token.content, token.markup, token.map = True, source, opening, [start, line + 1]
            state.line = line + 1
        return True
    return False


def _math_inline(state: StateInline, silent: bool) -> bool:
    r"""Match a formula inside a paragraph: `\(…\)`, `\[…\]`, and `$$…$$` at the start of a line."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in CLOSING or (opening == "$$" and not _begins_line(state)):
        return False
    begin = state.pos + 2
    closing_at = state.src.find(CLOSING[opening], begin, min(state.posMax, begin + MAX_CHARACTERS))
    if closing_at < 0 or not state.src[begin:closing_at].strip():
        return False
    if not silent:
        token = state.push("math_inline", "span", 0)
        token.content, token.markup = state.src[begin:closing_at], opening
    state.pos = closing_at + 2
    return True


def _begins_line(state: StateInline) -> bool:
    before = state.pos - 1
    while before >= 0 and state.src[before] in " \t":
        before -= 1
    return before < 0 or state.src[before] == "\n"


def _tag(state: StateInline, silent: bool) -> bool:
    """Match `<br>`, and `<sub>`, `<sup>` or `<kbd>` with its closing tag; every other tag is text."""
    if state.src[state.pos] != "<":
        return False
    if single := _BREAK.match(state.src, state.pos, state.posMax):
        if not silent:
            state.push("hardbreak", "br", 0)
        state.pos = single.end()
        return True
    opening = _OPENING_TAG.match(state.src, state.pos, state.posMax)
    if opening is None:
        return False
    name = opening[1].lower()
    limit = min(state.posMax, opening.end() + MAX_CHARACTERS)
    closing = _CLOSING_TAGS[name].search(state.src, opening.end(), limit)
    if closing is None:
        return False
    if not silent:
        outer_end, state.posMax, state.pos = state.posMax, closing.start(), opening.end()
        state.push("tag_open", name, 1)
        state.md.inline.tokenize(state)
        state.push("tag_close", name, -1)
        state.posMax = outer_end
    state.pos = closing.end()
    return True
