"""What a researcher receives names annotators by pseudonyms only: not by name, nor by their permanent id."""

from __future__ import annotations

import json
import re

import pytest

from browser.application import Application
from chatfeedback.export.registry import DATASETS, FORMATS
from server.http_client import ON_SQLITE
from users import Somebody

pytestmark = ON_SQLITE
PSEUDONYM = re.compile(r"annotator-[a-z2-7]{16}")


@pytest.fixture
def rated(application: Application, people: dict[str, Somebody]) -> None:
    """Let both annotators chat and rate."""
    for name in ("ada", "bob"):
        tab = people[name].tab()
        tab.call("ChatHandlers.load")
        tab.call("ChatHandlers.send", [f"I am {name[0]}", None, None, ""])
        click = {"index": 1, "value": [f"You said: I am {name[0]}"], "liked": True}
        tab.call("FeedbackHandlers.like", [None, "", ""], event_data=click)
        edit = {"index": 1, "value": "better", "previous_value": f"You said: I am {name[0]}"}
        tab.call("ChatHandlers.edit", [None, None], event_data=edit)


def received(person: Somebody) -> str:
    """Return everything that the page and the exports give to a person."""
    tab = person.tab()
    figures = ["", "", "", ""]
    answers = [tab.call("AccountHandlers.load"), tab.call("ChatHandlers.load")]
    answers.append(tab.call("AnalyticsHandlers.refresh", figures))
    everything = json.dumps(answers[-1])
    for pseudonym in sorted(set(PSEUDONYM.findall(everything))):
        answers.append(tab.call("AnalyticsHandlers.refresh", ["", "", "", pseudonym]))
    for row in range(2):
        answers.append(tab.call("AnalyticsHandlers.open", event_data={"row": row}))
    answers.append(tab.call("AnalyticsHandlers.refresh", ["", "", "", "annotator-aaaaaaaaaaaaaaaa"]))
    exports = [f"/export/{name}.{format.suffix}" for name in DATASETS for format in FORMATS.values()]
    refused = [f"{exports[0]}?annotator={unknown}" for unknown in ("nobody", "ada", "annotator-aaaaaaaaaaaaaaaa")]
    pages = [person.get(path) for path in ("/", "/config", *exports, *refused, f"{exports[0]}?annotators=names")]
    return json.dumps(answers) + "\n".join(page.text for page in pages)


@pytest.mark.usefixtures("rated")
def test_researcher_receives_neither_names_nor_ids_of_annotators(people: dict[str, Somebody]) -> None:
    everything = received(people["rita"])
    assert len(set(PSEUDONYM.findall(everything))) >= 2
    for name in ("ada", "bob"):
        assert str(people[name].annotator_id) not in everything
        assert not re.search(rf"\b{name}\b", everything.replace("annotator=ada", "").replace("'ada'", ""))


@pytest.mark.usefixtures("rated")
def test_admin_receives_names_and_no_ids_on_analytics_tab(people: dict[str, Somebody]) -> None:
    answer = json.dumps(people["adam"].tab().call("AnalyticsHandlers.refresh", ["", "", "", ""]))
    assert "ada" in answer and "bob" in answer
    assert not any(str(people[name].annotator_id) in answer for name in ("ada", "bob"))
