"""Parser of HTML fragments, so that tests can ask for what a reader gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"input", "br"}


@dataclass
class Element:
    """One element: its attributes, and its own text and that of what it holds."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str = "", cls: str = "") -> list[Element]:
        """Return every element below with this tag and class."""
        matches = [
            child
            for child in self.children
            if (not tag or child.tag == tag) and (not cls or cls in (child.attributes.get("class") or "").split())
        ]
        return matches + [element for child in self.children for element in child.all(tag, cls)]

    def style(self, name: str) -> float:
        """Return a length in the style attribute, in per cent."""
        declared = dict(part.split(":") for part in (self.attributes["style"] or "").split(";"))
        return float(declared[name].removesuffix("%"))

    def number(self, name: str) -> float:
        return float(self.attributes[name] or "")

    def rows(self) -> list[list[str]]:
        """Return the cells of the first table, its head included."""
        return [[cell.text for cell in row.children] for row in self.all("table")[0].all("tr")]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parse(html: str) -> Element:
    """Return the elements of a fragment; fail if it is not well formed."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].tag}> is not closed"
    return parser.open[0]
