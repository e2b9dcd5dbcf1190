"""Context window: the messages that are sent when a conversation does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatfeedback.inference.context_window import estimate_tokens, fit, shrink


@dataclass(frozen=True)
class Message:
    id: int
    role: str
    text: str


def conversation(*turns: str, start: int = 0) -> list[Message]:
    """Turns of one question and one answer of the same text each."""
    pairs = ((role, text) for text in turns for role in ("user", "assistant"))
    return [Message(start + number, role, text) for number, (role, text) in enumerate(pairs)]


def cost(messages: list[Message] | tuple[Message, ...]) -> int:
    return sum(estimate_tokens(message.text) + 8 for message in messages)


roles = st.sampled_from(["user", "user", "assistant"])
threads = st.lists(st.tuples(roles, st.text(max_size=200)), max_size=30).map(
    lambda drawn: [Message(number, role, text) for number, (role, text) in enumerate(drawn)]
)
windows = st.one_of(st.none(), st.integers(1, 4000))


def starts_of_turns(thread: list[Message]) -> list[int]:
    return [index for index, message in enumerate(thread) if message.role == "user" or index == 0]


# fit


@given(threads, windows, st.text(max_size=300), st.integers(1, 5000))
def test_fit_keeps_end_of_thread_from_start_of_turn(
    thread: list[Message], window: int | None, system_prompt: str, max_tokens: int
) -> None:
    kept = fit(thread, context_tokens=window, system_prompt=system_prompt, max_tokens=max_tokens)

    left_out = len(thread) - len(kept)
    assert list(kept) == thread[left_out:]
    assert not thread or left_out in starts_of_turns(thread)


@given(threads, st.integers(1, 4000), st.text(max_size=300), st.integers(1, 5000))
def test_fit_stays_within_window_unless_only_last_turn_is_left(
    thread: list[Message], window: int, system_prompt: str, max_tokens: int
) -> None:
    kept = fit(thread, context_tokens=window, system_prompt=system_prompt, max_tokens=max_tokens)

    reserve = min(max_tokens, window // 2)
    prompt = cost([Message(0, "system", system_prompt)]) if system_prompt else 0
    last_turn_alone = bool(thread) and len(thread) - len(kept) == starts_of_turns(thread)[-1]
    assert cost(kept) + prompt + reserve <= window or last_turn_alone or not thread


@given(threads, windows, st.integers(1, 5000))
def test_fit_keeps_last_message_of_user(thread: list[Message], window: int | None, max_tokens: int) -> None:
    prompts = [message for message in thread if message.role == "user"]
    assume(prompts)

    assert prompts[-1] in fit(thread, context_tokens=window, system_prompt=None, max_tokens=max_tokens)


@given(threads, st.text(max_size=300), st.integers(1, 5000))
def test_fit_keeps_all_messages_when_window_has_room(
    thread: list[Message], system_prompt: str, max_tokens: int
) -> None:
    window = 2 * (cost(thread) + estimate_tokens(system_prompt) + 50 + max_tokens)

    assert fit(thread, context_tokens=window, system_prompt=system_prompt, max_tokens=max_tokens) == tuple(thread)
    assert fit(thread, context_tokens=None, system_prompt=system_prompt, max_tokens=max_tokens) == tuple(thread)


def test_fit_reserves_at_most_half_of_window_for_reply() -> None:
    thread = conversation(*["word " * 40] * 4)
    kept = fit(thread, context_tokens=1000, system_prompt=None, max_tokens=10_000)

    assert 0 < cost(kept) <= 500
    assert len(kept) > 2


def test_fit_keeps_same_start_for_several_turns() -> None:
    starts = []
    for length in range(20, 60):
        kept = fit(conversation(*["word " * 20] * length), context_tokens=2000, system_prompt="Hi", max_tokens=100)
        starts.append(kept[0].id)

    moves = [later - earlier for earlier, later in pairwise(starts)]
    assert set(moves) - {0}, "the conversation is longer than the window"
    assert sum(move > 0 for move in moves) <= len(moves) / 2


# shrink


@given(threads)
def test_shrink_ends_with_last_turn_when_repeated(thread: list[Message]) -> None:
    current: tuple[Message, ...] = tuple(thread)
    while (shorter := shrink(current)) is not None:
        assert 0 < len(shorter) < len(current)
        assert shorter == current[-len(shorter) :]
        current = shorter

    assert not thread or len(thread) - len(current) == starts_of_turns(thread)[-1]


def test_shrink_removes_about_one_quarter() -> None:
    thread = conversation(*["word " * 20] * 16)

    assert [message.id for message in shrink(thread) or ()] == list(range(8, 32))


def test_shrink_removes_long_first_turn_whole() -> None:
    thread = conversation("word " * 1000, "short", "short")

    assert shrink(thread) == tuple(thread[2:])


def test_shrink_returns_none_for_last_turn() -> None:
    assert shrink(conversation("word " * 1000)) is None
    assert shrink([]) is None


# estimate_tokens; tests/inference/test_local.py compares it with a real tokenizer


@given(st.text(), st.text())
def test_estimate_tokens_does_not_decrease_with_longer_text(text: str, more: str) -> None:
    assert estimate_tokens(text) <= estimate_tokens(text + more)


@pytest.mark.parametrize("character", ["字", "語", "한", "😀", "𓀀", "ह", "ไ", "é", "Ж"])
def test_estimate_tokens_counts_at_least_one_per_non_ascii_character(character: str) -> None:
    assert estimate_tokens(character * 10) >= 10


@given(st.text())
def test_estimate_tokens_does_not_exceed_number_of_bytes(text: str) -> None:
    assert estimate_tokens(text) <= len(text.encode("utf-8", "replace"))
