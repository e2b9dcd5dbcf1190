"""Texts that are hard to render, a hundred and more of each kind, with the text that a person must be able to read.

The oracle is a separate markdown-it-py parser. It gets a text with plain words in place of formulas and of the four
allowed tags, so that the rules for those are not compared with themselves.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import gradio as gr
from markdown_it import MarkdownIt
from markdown_it.token import Token

from chatfeedback.ui.chat.markdown import NOT_FORMATTED

MT_BENCH = Path(__file__).parents[1] / "data" / "mt_bench_questions.jsonl"
OF_EACH_KIND = 110
RULE = "***"
"""Markdown of a horizontal rule, which has no visible letter."""
BUILT_IN = "markup html xml svg mathml css clike javascript js python latex bash c cpp json sql java go rust php yaml"
"""Languages of the highlighter."""
_NOTE = "".join(NOT_FORMATTED.split())
_parser = MarkdownIt("gfm-like", {"html": False, "breaks": True})
_parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]


@dataclass(frozen=True)
class Text:
    """Text, and its expected visible text; white space does not count."""

    kind: str
    source: str
    read: str


def read(source: str) -> str:
    """Return the plain text of Markdown."""
    return "\n".join(_texts(_parser.parse(source)))


def _texts(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield from _inline(token.children or [])
        elif token.content:
            yield token.content


def _inline(children: list[Token]) -> Iterator[str]:
    yield "".join("\n" if child.type.endswith("break") else child.content for child in children)


Piece = tuple[str, str, str]
"""Piece of text, the word in its place for the oracle, and its visible text."""


def _plain(piece: str) -> Piece:
    return piece, piece, ""


def _formula(opening: str, source: str, closing: str, number: int) -> Piece:
    return f"{opening}{source}{closing}", f"formula{number}x", source


TAGS = [
    "<title>",
    "</s>",
    "a<b and c>d",
    "<head> and <body>",
    "List<String>",
    "<|end|>",
    "<!-- x -->",
    "x < y > z",
    "<<a",
    "<script>x</script>",
    "<plaintext>",
    "<xmp>",
    "<textarea>",
    "<svg onload=x>",
    "<think>",
    "<sub class=y>",
]
DOLLARS = [
    "echo $$",
    "kill $$;",
    "$5 and $10",
    "US$",
    "a $$ b $$ c",
    "`$$`",
    "cost: $$$",
    "$x$",
]
RIGHT_TO_LEFT = [
    "مرحبا بالعالم",
    "שלום עולם",
    "سلام (ok) 123",
    "العدد 42 `code`",
    "**غامق**",
    "- بند\n- آخر",
    "> اقتباس",
]
MARKS = [
    "**bold**",
    "*slanted*",
    "`code`",
    "~~struck~~",
    "[link](https://example.org/a)",
    "# Heading",
    "> quote",
    "- item",
    "1. first",
    "***",
    "a_b_c",
    "\\*",
    "&lt;",
    "&amp;lt;",
    "| a | b |\n|--:|:-:|\n| 1 | 2 |",
    "    indented",
    "line  ",
    "![picture](https://example.org/p.png)",
    "[x]: https://example.org",
    "<https://example.org>",
    "😀 中文 ไทย",
]
TEX = ["x^2", "a_1 + b_1", "\\frac{1}{2}", "\\sum_{i=1}^n i", "\\sqrt{x}", "a \\cdot b", "\\alpha", "E = mc^2"]
CODE = [
    'int main() { return a < b && "$$"; }',
    "def f(x):\n    return x  # <b>",
    "<p>&lt;</p>\n\n  x",
    "SELECT * FROM t",
]
OTHER_LANGUAGES = ["mermaid", "objc", "cuda", "c++", "no-such-language", "", "a b", "<b>"]
JOINTS = ["\n\n", "\n\n", "\n", " "]


def _mixed(pieces: list[Piece], chance: random.Random, joints: list[str]) -> tuple[str, str]:
    source = stand_in = ""
    words = {}
    for number, (piece, stands_for_it, is_read) in enumerate(pieces):
        joint = chance.choice(joints) if number else ""
        source += joint + piece
        stand_in += joint + stands_for_it
        if is_read:
            words[stands_for_it] = is_read
    plain = read(stand_in)
    for word, is_read in words.items():
        plain = plain.replace(word, is_read)
    return source, plain


def _of(kind: str, *choices: list[str], joints: list[str] = JOINTS) -> Iterator[Text]:
    chance = random.Random(kind)
    while True:
        pieces = [_plain(chance.choice(chance.choice(choices))) for _ in range(chance.randint(1, 6))]
        yield Text(kind, *_mixed(pieces, chance, joints))


def _formulas() -> Iterator[Text]:
    chance = random.Random("formulas")
    while True:
        pieces = [_plain("so")]
        for number in range(chance.randint(1, 3)):
            opening, closing = chance.choice([("\\(", "\\)"), ("\\[", "\\]")])
            pieces += [_formula(opening, chance.choice(TEX), closing, number), _plain(chance.choice(MARKS[:4]))]
        if chance.random() < 0.5:
            pieces = [_formula("$$", chance.choice(TEX), "$$", 9), *pieces]
        yield Text("formula", *_mixed(pieces, chance, ["\n\n"]))


def _fences() -> Iterator[Text]:
    chance = random.Random("fences")
    languages = [
        *BUILT_IN.split(),
        *gr.Code.languages,
        "mermaid",
        "objc",
        "cuda",
        "c++",
        "no-such-language",
        "",
        "a b",
        "<b>",
    ]
    for language in languages:
        source = f"before\n\n```{language}\n{chance.choice(CODE)}\n```\n\nafter"
        yield Text("code", source, read(source))
    while True:
        source = f"before\n\n```{chance.choice(languages)}\n{chance.choice(CODE)}\n```\n\n{chance.choice(MARKS)}"
        yield Text("code", source, read(source))


def _allowed() -> Iterator[Text]:
    chance = random.Random("allowed tags")
    while True:
        word, tag = chance.choice(["2", "word", "a b"]), chance.choice(["sub", "sup", "kbd"])
        pieces = [
            _plain("H"),
            (f"<{tag}>{word}</{tag}>", word, ""),
            _plain(chance.choice(MARKS[:4])),
            ("<br>", " ", ""),
        ]
        yield Text("allowed tag", *_mixed(pieces, chance, [" "]))


def _nested() -> Iterator[Text]:
    chance = random.Random("nesting")
    for depth in range(1, 1000):
        mark = chance.choice(["> ", "- ", "1. ", "> - "])
        source = mark * (depth % 40 + 1) + chance.choice(["deep", "deep `code`", "<b> deep"])
        yield Text("nesting", source, read(source))


def _questions() -> Iterator[Text]:
    for line in MT_BENCH.read_text().splitlines():
        for turn in json.loads(line)["turns"]:
            yield Text("MT-Bench", turn, read(turn))


def corpus(size: int) -> list[Text]:
    """Return at least `size` texts: some of each kind, then mixtures of all."""
    kinds: list[Callable[[], Iterator[Text]]] = [
        lambda: _of("tags", TAGS, joints=[" ", "\n\n"]),
        lambda: _of("dollars", DOLLARS, joints=[" and "]),
        lambda: _of("right to left", RIGHT_TO_LEFT, MARKS[:5]),
        lambda: _of("marks", MARKS),
        lambda: _of("tables", ["| l | r | c |\n|:--|--:|:-:|\n| 1 | 2 | 3 |"], MARKS[:4], joints=["\n\n"]),
        _formulas,
        _fences,
        _allowed,
        _nested,
    ]
    texts = [*_questions()]
    for kind in kinds:
        texts += islice(kind(), OF_EACH_KIND)
    mixtures = _of(
        "mixture", TAGS, DOLLARS, RIGHT_TO_LEFT, MARKS, ["```cpp\nint x;\n```", "```\n$$\n```"], joints=["\n\n", "\n"]
    )
    return texts + list(islice((text for text in mixtures if not _begins_formula(text)), max(size - len(texts), 0)))


def _begins_formula(text: Text) -> bool:
    """Return True if `$$` begins a line, where it is a formula."""
    return any(line.lstrip(" >-").startswith("$$") for line in text.source.splitlines())


def is_read(text: Text, visible: str) -> bool:
    """Compare the visible text with the expected text.

    A text that is nested too deeply or would be invisible is shown as plain text with a note.
    """
    letters = "".join(visible.split())
    plain = "".join(text.source.split())
    if letters.startswith(_NOTE):
        return letters == _NOTE + plain and (text.kind == "nesting" or not text.read.strip())
    return bool(letters or RULE in text.source) and letters == "".join(text.read.split())
