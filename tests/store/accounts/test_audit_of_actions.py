"""The audit of the packages tells a finding, a clean answer and no answer apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from script_loading import load_script

pytestmark = pytest.mark.process

FINE = {"name": "fine", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"]}],
}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1.0)"}
NO_NETWORK = "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.example', port=443)"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("audit")


@pytest.fixture
def answering(tmp_path: Path) -> Any:
    """Makes a command that plays pip-audit: what it prints for each service, or the error that it ends with."""

    def make(**answers: list[dict[str, Any]] | str) -> list[str]:
        program = tmp_path / "pip_audit.py"
        program.write_text(
            "import json, sys\n"
            f"answers = json.loads({json.dumps(json.dumps(answers))})\n"
            "answer = answers[sys.argv[sys.argv.index('--vulnerability-service') + 1]]\n"
            "if isinstance(answer, str):\n    sys.exit(answer)\n"
            "print(json.dumps({'dependencies': answer, 'fixes': []}))\n"
            "print('No known vulnerabilities found', file=sys.stderr)\n"
            "sys.exit(any(one.get('vulns') for one in answer))\n"
        )
        return [sys.executable, str(program)]

    return make


def test_a_clean_answer_passes_and_counts_what_was_asked_about(script: ModuleType, answering: Any) -> None:
    passed, lines = script.audit(answering(pypi=[FINE, UNKNOWN]))
    assert passed
    assert lines == ["1 packages audited, 0 of their vulnerabilities to be dealt with; pypi does not know unknown."]


def test_a_finding_fails_and_names_package_and_remedy(script: ModuleType, answering: Any) -> None:
    passed, lines = script.audit(answering(pypi=[FINE, BAD]))
    assert not passed
    assert lines[0] == "FOUND bad 2.0: PYSEC-2026-1 CVE-2026-1, fixed in 2.1"


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-1"])
def test_a_finding_that_is_ignored_for_a_reason_passes_and_is_told(
    script: ModuleType, answering: Any, name: str
) -> None:
    passed, lines = script.audit(answering(pypi=[BAD]), {name: "not used here"})
    assert passed
    assert lines[0].startswith("ignored, not used here: bad 2.0")
    assert not script.audit(answering(pypi=[BAD]), {"CVE-2026-2": "another one"})[0]


@pytest.mark.parametrize("pypi", [[UNKNOWN], NO_NETWORK], ids=["knows nothing", "no network"])
def test_where_no_service_answers_one_line_says_so_and_nothing_fails(
    script: ModuleType, answering: Any, pypi: Any
) -> None:
    passed, lines = script.audit(answering(pypi=pypi, osv=NO_NETWORK))
    assert passed
    (line,) = lines
    assert line.startswith("NOT AUDITED: no vulnerability service answered")


def test_the_next_service_is_asked_when_one_does_not_answer(script: ModuleType, answering: Any) -> None:
    assert not script.audit(answering(pypi=NO_NETWORK, osv=[BAD]))[0]
    assert not script.audit(answering(pypi=[UNKNOWN], osv=[BAD]))[0]


def test_a_service_that_hangs_is_no_answer(script: ModuleType, tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text("import threading; threading.Event().wait()")
    passed, (line,) = script.audit([sys.executable, str(program)], {}, seconds=0)
    assert passed
    assert "did not answer in time" in line


def test_a_fault_of_pip_audit_itself_fails(script: ModuleType, answering: Any) -> None:
    passed, (line,) = script.audit(answering(pypi="ModuleNotFoundError: No module named 'pip_audit'"))
    assert not passed
    assert "No module named 'pip_audit'" in line


def test_every_finding_that_is_ignored_has_a_reason(script: ModuleType) -> None:
    assert all(len(reason) > 20 for reason in script.IGNORED.values())
