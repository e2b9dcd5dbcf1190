"""Markdown of messages: everything else is shown as text, and no word is lost."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chatfeedback.ui.chat import markdown

ELEMENTS = {"br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "kbd", "li", "ol", "p", "pre", "s"}
ELEMENTS |= {"a", "blockquote", "button", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr"}
ELEMENTS |= {"ul"}
INLINE = {"a", "button", "code", "em", "kbd", "s", "span", "strong", "sub", "sup"}
ATTRIBUTES = {"aria-label", "class", "data-tex", "dir", "href", "rel", "start", "tabindex", "target", "title", "type"}
PIECES = st.sampled_from(
    [
        *("word", "a<b", "</s>", "<title>", "<br>", "<sub>", "</sub>", "<kbd>x</kbd>", "<!--", "&lt;", "&", " ", "\0"),
        *("$$", "\\(", "\\)", "\\[", "\\]", "**", "_", "`", "```", "```cpp\n", "\n", "\n\n", "- ", "1. ", "> ", "# "),
        *("|a|b|\n|-|:-:|\n", "    ", "[x](", "![", "](http://x.y)", ")", "~~", "\\", "---\n", "\t", "\r"),
        *("مرحبا", "שלום", "中文", "https://x.y"),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


class Reader(HTMLParser):
    """HTML parser that collects text, elements and attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += "" if tag in INLINE else "\n"
        self.elements.append((tag, dict(attrs)))


def read(text: str) -> str:
    """Return the visible text of a message, on one line."""
    return " ".join(Reader("".join(markdown.to_html(text))).text.split())


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text))


@pytest.mark.parametrize(
    "text",
    [
        "Set <title>, <head> and <body> first.",
        "a<b and c>d",
        "</s>",
        "<|im_end|> <think>aloud</think>",
        "<!-- a comment --> and more",
        "<script>alert(1)</script>",
        "List<String> names = new ArrayList<>();",
        "<plaintext> <xmp> <textarea> <noscript>",
        "<sub class=x>1</sub> <br class=y> <kbd",
        "<![CDATA[ x ]]> <?xml ?> <!DOCTYPE html>",
    ],
)
def test_to_html_shows_tags_as_text(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize(
    ("text", "element"),
    [("a<br>b", "br"), ("H<sub>2</sub>O", "sub"), ("x<SUP>2</SUP>", "sup"), ("<kbd>Esc</kbd>", "kbd")],
)
def test_to_html_keeps_four_tags_without_attributes(text: str, element: str) -> None:
    assert element in [name for name, _ in Reader("".join(markdown.to_html(text))).elements]


@pytest.mark.parametrize("text", ["<sub>2", "2</sub>", "<sub>2</sup>", "<kbd></kbd", "<sub>**2</sub>**"])
def test_to_html_shows_unpaired_tag_as_text(text: str) -> None:
    assert words(text) - {"sub", "sup", "kbd"} <= words(read(text))
    assert read("<sub>2") == "<sub>2"


@pytest.mark.parametrize(
    "language", ["c", "cpp", "c++", "objc", "cuda", "no-such-language", "python", "", "<b>", "mermaid"]
)
def test_to_html_shows_code_of_every_language_unchanged(language: str) -> None:
    code = "#include <a>\n\n  if (a < b && c) { x = '$$'; }\t\n"
    (block,) = markdown.to_html(f"```{language}\n{code}```")
    assert Reader(block).text.strip("\n") == code.strip("\n")


@pytest.mark.parametrize(
    "text", ["echo $$ and echo $$", "It was $5 and is $10.", "kill $$; wait $$", "a $$x$$ b", "$$ alone", "\\( alone"]
)
def test_to_html_shows_dollars_in_prose_as_text(text: str) -> None:
    assert "cf-math" not in "".join(markdown.to_html(text))
    assert read(text) == text.replace("\\(", "(")  # a backslash before a bracket is Markdown


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("$$x^2$$", "x^2"),
        ("text\n$$\na_1\n+ b\n$$\ntext", "a_1\n+ b"),
        ("$$x$$ and more", "x"),
        ("- item\n\n  $$\n  y_1 * z\n  $$", "y_1 * z"),
        ("> \\[\n> a < b\n> \\]", "a < b"),
        (r"so \(a_1 * b_1\) is", "a_1 * b_1"),
        (r"so \[a_1 * b_1\] is", "a_1 * b_1"),
    ],
)
def test_to_html_keeps_source_of_formula(text: str, source: str) -> None:
    attributes = dict(Reader("".join(markdown.to_html(text))).elements)
    sources = [at["data-tex"] for _, at in Reader("".join(markdown.to_html(text))).elements if "data-tex" in at]
    assert [part and " ".join(part.split()) for part in sources] == [" ".join(source.split())], attributes


@pytest.mark.parametrize(
    ("text", "directions"),
    [
        ("hello\n\nمرحبا", ["ltr", "rtl"]),
        ("123 مرحبا hello", ["rtl"]),
        ("`code` שלום", ["rtl"]),
        ("- مرحبا\n- hello", ["rtl", "ltr"]),
        ("# שלום\n\n> hello", ["rtl", "ltr", "ltr"]),
        ("123", ["auto"]),
    ],
)
def test_to_html_gives_each_paragraph_its_own_direction(text: str, directions: list[str]) -> None:
    actual = [
        at["dir"] for name, at in Reader("".join(markdown.to_html(text))).elements if "dir" in at and name != "code"
    ]
    assert actual == directions


def test_to_html_sets_code_from_left_to_right() -> None:
    elements = Reader("".join(markdown.to_html("مرحبا `a + b`\n\n```\nمرحبا = 1\n```"))).elements
    assert [at.get("dir") for name, at in elements if name in ("code", "pre")] == ["ltr", "ltr", None]


def test_to_html_aligns_columns_of_table() -> None:
    elements = Reader("".join(markdown.to_html("|a|b|c|\n|:-|-:|:-:|\n|1|2|3|"))).elements
    classes = [at["class"] for name, at in elements if name in ("th", "td")]
    assert classes == ["cf-left", "cf-right", "cf-center"] * 2


@pytest.mark.parametrize("text", ["> " * 40 + "deep", "- " * 40 + "deep", "- > " * 30 + "deep **bold**"])
def test_to_html_shows_too_deeply_nested_text_as_plain_text_with_note(text: str) -> None:
    assert read(text) == f"{markdown.NOT_FORMATTED} {text}"


@pytest.mark.parametrize("text", ["[x]: https://example.org", "<br>", "#", "- ", ">", "\u200d", " \n\t", "```\n```"])
def test_to_html_shows_invisible_text_as_plain_text_with_note(text: str) -> None:
    assert read(text) == " ".join(f"{markdown.NOT_FORMATTED} {text}".split())


def test_to_html_shows_plain_text_when_formatting_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(markdown, "_render", fail)
    assert read("**one** <two>") == f"{markdown.NOT_FORMATTED} **one** <two>"
    assert "could not be formatted" in caplog.text


def test_to_html_shows_too_long_text_as_plain_text_with_note() -> None:
    text = " ".join(["**word**"] * (markdown.MAX_FORMATTED // 8))
    assert read(text) == f"{markdown.NOT_FORMATTED} {text}"


@pytest.mark.parametrize(
    "address", ["javascript:x", "JAVASCRIPT:x", "data:image/png;base64,x", "file:///x", "#top", "/x", "x"]
)
def test_to_html_links_to_web_and_mail_only(address: str) -> None:
    for text in (f"[link]({address})", f"![link]({address})", f"[link][1]\n\n[1]: {address}", f"<{address}>"):
        assert [at for _, at in Reader("".join(markdown.to_html(text))).elements if "href" in at] == []


@pytest.mark.parametrize(
    "text", ["[a](https://x.y)", "![a](https://x.y)", "<https://x.y>", "https://x.y", "[a](mailto:a@x.y)"]
)
def test_to_html_opens_links_in_new_tab(text: str) -> None:
    (link,) = [at for _, at in Reader("".join(markdown.to_html(text))).elements if "href" in at]
    assert (link["target"], link["rel"]) == ("_blank", "noopener noreferrer")


def test_to_html_puts_no_link_into_link() -> None:
    elements = Reader("".join(markdown.to_html("[![picture](https://a.b)](https://c.d)"))).elements
    assert [at["href"] for name, at in elements if name == "a"] == ["https://c.d"]


@given(TEXTS)
def test_to_html_makes_only_allowed_elements_and_attributes(text: str) -> None:
    for name, attributes in Reader("".join(markdown.to_html(text))).elements:
        assert name in ELEMENTS
        assert set(attributes) <= ATTRIBUTES


def syntax(text: str) -> str:
    """Return the words that belong to Markdown syntax: URLs, language names, and those of the pieces."""
    tokens = list(MarkdownIt("gfm-like", {"html": False}).parse(text)) + (markdown._parse(text) or [])
    inside = [child for token in tokens for child in token.children or []]
    addresses = [unquote(str(token.attrGet(name) or "")) for token in inside for name in ("href", "src")]
    return " ".join(["br sub kbd cpp http x y 1", *addresses, *(token.info for token in tokens)])


@given(TEXTS)
def test_to_html_shows_every_word(text: str) -> None:
    page = Reader("".join(markdown.to_html(text)))
    visible = page.text + " ".join(html.unescape(at.get("href") or "") for _, at in page.elements)
    known = visible + syntax(text)
    assert [word for word in words(html.unescape(text)) if word not in known] == []


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("**bold** and `code`", "bold and code"),
        ("# Title\n\n- one\n- two", "Title\none\ntwo"),
        ("[link](https://x.y) a<b &lt;", "link a<b <"),
        ("```py\nx = 1\n```", "x = 1\n"),
        ("|a|b|\n|-|-|\n|1|2|", "a\nb\n1\n2"),
    ],
)
def test_to_text_leaves_out_marks_of_markdown(text: str, read: str) -> None:
    assert markdown.to_text(text) == read


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", None),
        ("one\n", None),
        ("one\n\ntwo", None),
        ("one\n\ntwo\n", "two\n"),
        ("- one\n- two\n", "- two\n"),
        ("one\n\n```\na\n\nb", "```\na\n\nb"),
        ("one\r\rtwo\r", "two\r"),
        ("one\r\n\r\ntwo\r\n", "two\r\n"),
        ("\r```cpp\n1. word\n", "```cpp\n1. word\n"),
        ("one\n\n\\[ x\n\ntwo\n\nthree\n", "\\[ x\n\ntwo\n\nthree\n"),
        ("one\n\n$$x$$\n\ntwo\n", "two\n"),
    ],
)
def test_last_block_start_finds_block_that_may_still_change(text: str, rest: str | None) -> None:
    start = markdown.last_block_start(text)
    assert (None if start is None else text[start:]) == rest
