"""The page docs/data.md, read by tests: its sections, tables and blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")


def section(heading: str) -> str:
    """Return the text under a heading, up to the next heading of the same or a higher level."""
    level = heading.index(" ")
    match = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert match, f"docs/data.md has no heading {heading!r}"
    return match[1]


def rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the first table that has this header."""
    match = re.search(rf"^\| {re.escape(header)} \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    assert match, f"there is no table {header!r}"
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in match[1].splitlines()]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
