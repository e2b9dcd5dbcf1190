"""Values of an export that are hard to read back."""

from __future__ import annotations

HARD_TEXTS = [
    "NA",
    "null",
    "nan",
    "None",
    "123",
    "2026-01-01",
    "true",
    '"',
    "a,b",
    "x\r\ny\rz\n",
    "👩 שלום",
    "  x  ",
    "\\N",
    "=1",
    "'=1",
    " -1",
    "\n@",
    "007",
    "1/2",
    "\u2028\x85\x0b\x0c",
    "\ufeff",
    "\\",
    '\\"',
]
HARD_NUMBERS = {0.95: 2**53, 0.1 + 0.2: 2**31 - 1, 1e-07: 0, 2.2250738585072014e-308: 1, 1.7976931348623157e308: 7}
"""Numbers that careless readers round, with seeds."""
