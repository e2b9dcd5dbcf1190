"""Dead patches: tests and benchmarks have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from patched_names import Program

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
SHOP = Program.of(
    {
        "shop": "",
        "shop.clock": """
from other import now
from shop.prices import PRICE, TAX
LIMIT, STEP, SIZES, REEXPORTED, PAUSE = 1, 2, [3], 4, 5
DOUBLED = [2 * SIZES[0] for _ in range(3)]
def wait(limit=LIMIT):
    return now() + PAUSE
def shadowed(STEP):
    return STEP
class Clock:
    STEP = STEP
    def tick(self):
        return (lambda: TAX)()
    def tock(self):
        return self.tick()
""",
        "shop.prices": """
PRICE, TAX, LATE, SEEN = 1, 2, 3, 4
""",
        "shop.till": """
import shop.clock
from shop import prices
WRITTEN = prices.PRICE
def pay():
    from shop.prices import LATE
    return prices.SEEN + LATE
def wait():
    from other import prices
    return prices.TAX
""",
    }
)
HEAD = """
import shop.clock
import shop.prices as money
from shop import clock, prices
from shop.clock import Clock
"""


def test_dead_patches_are_absent_from_tests_and_benchmarks() -> None:
    program = Program.of_package(ROOT / "chatfeedback")
    patches = {path: program.patches(path.read_text("utf-8")) for path in FILES}
    assert sum(map(len, patches.values())) > 50
    dead = [
        f"{path.relative_to(ROOT)}, {patch}"
        for path, patches_of_file in patches.items()
        for patch in patches_of_file
        if not program.is_read(patch)
    ]
    assert dead == []


@pytest.mark.parametrize(
    "patch",
    [
        "monkeypatch.setattr(clock, 'now', lambda: 0)",
        "monkeypatch.setattr(shop.clock, 'PAUSE', 0)",
        "monkeypatch.setattr('shop.clock.PAUSE', 0)",
        "patched.setattr(clock, 'TAX', 0)",
        "setattr(clock, 'PAUSE', 0)",
        "mock.patch.object(clock, 'PAUSE')",
        "mock.patch('shop.clock.PAUSE')",
        "clock.PAUSE = 0",
        "money.SEEN = 0",
        "monkeypatch.setattr(prices, 'LATE', 0)",
        "monkeypatch.setattr(Clock, 'tick', None)",
        "monkeypatch.setattr('shop.clock.Clock.tick', None)",
        "for name in ('now', 'PAUSE'):\n    monkeypatch.setattr(clock, name, 0)",
    ],
)
def test_dead_patches_leaves_out_patch_of_name_that_is_read(patch: str) -> None:
    assert len(SHOP.patches(HEAD + patch)) == (2 if "for" in patch else 1)
    assert SHOP.dead_patches(HEAD + patch) == []


@pytest.mark.parametrize(
    ("patch", "dead"),
    [
        ("monkeypatch.setattr(clock, 'LIMIT', 0)", "shop.clock.LIMIT"),  # a default argument
        ("monkeypatch.setattr(clock, 'STEP', 0)", "shop.clock.STEP"),  # the body of a class, and an argument
        ("monkeypatch.setattr(clock, 'SIZES', [])", "shop.clock.SIZES"),  # read at import
        ("monkeypatch.setattr(clock, 'PRICE', 0)", "shop.clock.PRICE"),  # imported, and no more
        ("monkeypatch.setattr(clock, 'GONE', 0)", "shop.clock.GONE"),
        ("monkeypatch.setattr('shop.clock.REEXPORTED', 0)", "shop.clock.REEXPORTED"),
        ("monkeypatch.setattr(money, 'PRICE', 0)", "shop.prices.PRICE"),  # read by another module at import
        ("monkeypatch.setattr(prices, 'TAX', 0)", "shop.prices.TAX"),  # imported by name elsewhere
        ("setattr(clock, 'STEP', 0)", "shop.clock.STEP"),
        ("patch.setattr(clock, 'STEP', 0)", "shop.clock.STEP"),
        ("mock.patch.object(clock, 'STEP', 0)", "shop.clock.STEP"),
        ("mock.patch('shop.clock.STEP')", "shop.clock.STEP"),
        ("clock.STEP = 0", "shop.clock.STEP"),
        ("shop.clock.STEP += 1", "shop.clock.STEP"),
        ("monkeypatch.setattr(Clock, 'tock', None)", "shop.clock.Clock.tock"),
        ("monkeypatch.setattr(clock, name, 0)", "shop.clock.?"),  # it cannot be told which
        ("for one in (clock, prices):\n    monkeypatch.setattr(one, 'PAUSE', 0)", "shop.prices.PAUSE"),
        ("for one, name in [(clock, 'now'), (prices, 'now')]:\n    setattr(one, name, 0)", "shop.prices.now"),
        (
            "@pytest.mark.parametrize(('one', 'name'), [(clock, 'now'), pytest.param(clock, 'STEP')])\n"
            "def test_it(one, name):\n    monkeypatch.setattr(one, name, 0)",
            "shop.clock.STEP",
        ),
        (
            "@pytest.mark.parametrize('name', ['now', 'STEP'])\ndef test_it(name):\n    setattr(clock, name, 0)",
            "shop.clock.STEP",
        ),
    ],
)
def test_dead_patches_finds_patch_of_name_that_is_read_nowhere(patch: str, dead: str) -> None:
    assert [f"{dead_patch.owner}.{dead_patch.name}" for dead_patch in SHOP.dead_patches(HEAD + patch)] == [dead]


@pytest.mark.parametrize(
    "patch",
    [
        "monkeypatch.setattr(os, 'sep', '')",
        "monkeypatch.setattr(room.service, 'STEP', 0)",
        "self.STEP = 0",
        "def test_it(clock):\n    clock.STEP = 0",  # a fixture, and not the module
    ],
)
def test_patches_leaves_out_names_outside_program(patch: str) -> None:
    assert SHOP.patches(HEAD + patch) == []
