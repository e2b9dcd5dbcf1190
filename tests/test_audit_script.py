"""Audit of the packages (`scripts/audit.py`): findings, clean answers and no answer."""

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
    """Return a function that makes a stub of pip-audit, with its output or its error for each service."""

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


def test_package_audit_passes_and_counts_packages_when_answer_is_clean(script: ModuleType, answering: Any) -> None:
    passed, lines = script.audit(answering(pypi=[FINE, UNKNOWN]))
    assert passed
    assert lines == ["1 packages audited, 0 of their vulnerabilities to be dealt with; pypi does not know unknown."]


def test_package_audit_fails_and_names_package_and_fix(script: ModuleType, answering: Any) -> None:
    passed, lines = script.audit(answering(pypi=[FINE, BAD]))
    assert not passed
    assert lines[0] == "FOUND bad 2.0: PYSEC-2026-1 CVE-2026-1, fixed in 2.1"


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-1"])
def test_package_audit_passes_and_reports_finding_that_is_ignored(
    script: ModuleType, answering: Any, name: str
) -> None:
    passed, lines = script.audit(answering(pypi=[BAD]), {name: "not used here"})
    assert passed
    assert lines[0].startswith("ignored, not used here: bad 2.0")
    assert not script.audit(answering(pypi=[BAD]), {"CVE-2026-2": "another one"})[0]


@pytest.mark.parametrize("pypi", [[UNKNOWN], NO_NETWORK], ids=["knows nothing", "no network"])
def test_package_audit_passes_with_one_line_when_no_service_answers(
    script: ModuleType, answering: Any, pypi: Any
) -> None:
    passed, lines = script.audit(answering(pypi=pypi, osv=NO_NETWORK))
    assert passed
    (line,) = lines
    assert line.startswith("NOT AUDITED: no vulnerability service answered")


def test_package_audit_asks_next_service_when_one_does_not_answer(script: ModuleType, answering: Any) -> None:
    assert not script.audit(answering(pypi=NO_NETWORK, osv=[BAD]))[0]
    assert not script.audit(answering(pypi=[UNKNOWN], osv=[BAD]))[0]


def test_package_audit_treats_hung_service_as_no_answer(script: ModuleType, tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text("import threading; threading.Event().wait()")
    passed, (line,) = script.audit([sys.executable, str(program)], {}, seconds=0)
    assert passed
    assert "did not answer in time" in line


def test_package_audit_fails_when_pip_audit_fails(script: ModuleType, answering: Any) -> None:
    passed, (line,) = script.audit(answering(pypi="ModuleNotFoundError: No module named 'pip_audit'"))
    assert not passed
    assert "No module named 'pip_audit'" in line
