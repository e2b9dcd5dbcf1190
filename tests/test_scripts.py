"""The commands in scripts/: the arguments of the test run, and mutants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from script_loading import SCRIPTS, load_script

CODE = '''\
class Shop:
    def price(self, count: int) -> int:
        """A price."""
        if count > 1:
            return count * 2
        if count > 1:
            return 0
        return 1


def price(count):
    return count * 2
'''


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    return load_script("mutants")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "shop.py").write_text(CODE)
    yield tmp_path


# The test run


@pytest.mark.parametrize(
    ("quick", "long", "marks"),
    [
        (False, False, []),
        (True, False, ["-m", "not browser and not process and not postgres and not long"]),
        (False, True, ["-m", "long or not long"]),
    ],
)
def test_pytest_arguments_choose_tests_and_end_with_given_arguments(quick: bool, long: bool, marks: list[str]) -> None:
    arguments = load_script("test").pytest_arguments(quick, long, ["-k", "undo"])
    assert arguments == ["--numprocesses", "2", "--durations", "20", *marks, "-k", "undo"]


def test_in_memory_leaves_databases_where_environment_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "elsewhere")
    assert load_script("test").in_memory() == {}


# Mutants


def test_mutant_changes_nth_such_line_of_its_function(mutants: ModuleType, tree: Path) -> None:
    old, new = "        if count > 1:", "        if count >= 1:"
    path, text = mutants.Mutant("shop", "Shop.price", old, new, 1).apply(tree)
    assert (path, text) == (tree / "shop.py", CODE)
    assert path.read_text() == CODE.replace(f"{old}\n            return 0", f"{new}\n            return 0")


@pytest.mark.parametrize(("name", "nth"), [("Shop.price", 2), ("price", 0)])
def test_mutant_of_missing_line_is_refused_and_changes_nothing(
    mutants: ModuleType, tree: Path, name: str, nth: int
) -> None:
    with pytest.raises(LookupError, match="has no line 'if count > 1:'"):
        mutants.Mutant("shop", name, "        if count > 1:", "        if True:", nth).apply(tree)
    assert (tree / "shop.py").read_text() == CODE


def test_mutant_names_tests_of_its_module(mutants: ModuleType) -> None:
    paths = {mutant.module: mutant.tests for mutant in mutants.load()}
    assert paths["chatfeedback.domain.conversation.decide"] == ("tests/domain",)
    assert paths["chatfeedback.auth.service"] == ("tests/auth",)
    assert "tests/store/log/test_append.py" in paths["chatfeedback.store.log.event_store"]


def test_recorded_mutants_can_all_be_applied(mutants: ModuleType, tmp_path: Path) -> None:
    """Carry the mutants of changed code over, or draw them anew."""
    for mutant in mutants.load():
        source = SCRIPTS.parent / f"{mutant.module.replace('.', '/')}.py"
        copy = tmp_path / source.relative_to(SCRIPTS.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text("utf-8"), "utf-8")
        path, text = mutant.apply(tmp_path)
        assert path.read_text("utf-8") != text


def test_summary_names_mutants_that_live_and_were_killed_before(mutants: ModuleType) -> None:
    killed = mutants.Mutant("shop", "price", "a", "b", 0)
    lived = mutants.Mutant("shop", "price", "a", "c", 0)
    before = {killed: "killed", lived: "lived"}
    done = [mutants.replace(killed, outcome="lived"), mutants.replace(lived, outcome="killed")]
    assert mutants.summary(done, before) == [
        "LIVED, and was killed before: shop:price: a -> b",
        "2 mutants: 1 killed, 1 lived, 0 out of time; killed before: 1.",
    ]
