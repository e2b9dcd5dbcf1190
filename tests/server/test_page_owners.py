"""Page owners: whose a page is, and how many pages are remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from browser.application import Application
from browser.page_probe import asked, told
from chatfeedback.server.authorization.page_owners import MAX_PAGES_PER_USER, PageOwners
from server.http_client import ON_SQLITE
from users import Somebody, blocks_of


def test_owner_is_first_user_of_page() -> None:
    owners = PageOwners(lambda user, page: None)
    assert owners.owner("page", "ada") == "ada"
    assert owners.owner("page", "bob") == "ada"
    assert owners.owner("another", "bob") == "bob"


def test_user_with_too_many_pages_loses_least_recently_used_one() -> None:
    forgotten: list[tuple[str, str]] = []
    owners = PageOwners(lambda user, page: forgotten.append((user, page)), max_per_user=2)
    for page, user in [("b", "bob"), ("1", "ada"), ("2", "ada"), ("1", "ada"), ("3", "ada")]:
        assert owners.owner(page, user) == user
    assert forgotten == [("ada", "2")]
    assert owners.owner("2", "bob") == "bob"


def test_too_many_pages_in_all_cost_least_recently_used_one() -> None:
    forgotten: list[tuple[str, str]] = []
    owners = PageOwners(lambda user, page: forgotten.append((user, page)), max_pages=3)
    for page, user in [("1", "ada"), ("2", "bob"), ("3", "eve"), ("1", "ada"), ("4", "eve"), ("5", "eve")]:
        owners.owner(page, user)
    assert forgotten == [("bob", "2"), ("eve", "3")]


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["ada", "bob", "eve"])), max_size=60))
def test_pages_stay_within_both_bounds_and_with_their_owner(uses: list[tuple[int, str]]) -> None:
    alive: dict[str, str] = {}
    owners = PageOwners(lambda user, page: alive.pop(page) and None, max_pages=5, max_per_user=3)
    for number, user in uses:
        page = str(number)
        owner = owners.owner(page, user)
        assert owner == alive.setdefault(page, user)
        assert len(alive) <= 5
        assert max(list(alive.values()).count(user) for user in alive.values()) <= 3


@ON_SQLITE
def test_forgotten_page_goes_on_with_conversation_of_its_address(
    application: Application, people: dict[str, Somebody]
) -> None:
    ada = people["ada"]
    first = ada.tab()
    first.call("ChatHandlers.load")
    first.call("ChatHandlers.send", ["one", None, None, ""])
    conversation_id = application.conversation_ids()[-1]
    others = [ada.tab() for _ in range(MAX_PAGES_PER_USER)]
    for tab in others:
        tab.call("wake")
    states = blocks_of(application).state_holder.session_data
    assert first.session_hash not in states
    assert {tab.session_hash for tab in others} <= set(states)
    here = f"?conversation={conversation_id}"
    for _ in range(2):  # refused first, because the conversation may have changed; the page shows it again
        answer = str(first.call("ChatHandlers.send", ["two", None, None, ""], query=here))
        assert ("The server has forgotten this page" in answer) == ("You said: two" not in answer)
    assert told(application.events(conversation_id)) == asked("one", "two")
