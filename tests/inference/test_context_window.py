"""What of a conversation is sent when it does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatfeedback.inference.context_window import estimate_tokens, fit, shrink


@dataclass(frozen=True)
class Said:
    id: int
    role: str
    text: str


def conversation(*turns: str, start: int = 0) -> list[Said]:
    """Turns of one question and one answer of the same text each."""
    pairs = ((role, text) for text in turns for role in ("user", "assistant"))
    return [Said(start + number, role, text) for number, (role, text) in enumerate(pairs)]


def cost(messages: list[Said] | tuple[Said, ...]) -> int:
    return sum(estimate_tokens(message.text) + 8 for message in messages)


roles = st.sampled_from(["user", "user", "assistant"])
threads = st.lists(st.tuples(roles, st.text(max_size=200)), max_size=30).map(
    lambda said: [Said(number, role, text) for number, (role, text) in enumerate(said)]
)
windows = st.one_of(st.none(), st.integers(1, 4000))


def starts_of_turns(thread: list[Said]) -> list[int]:
    return [at for at, message in enumerate(thread) if message.role == "user" or at == 0]


# fit


@given(threads, windows, st.text(max_size=300), st.integers(1, 5000))
def test_what_is_kept_is_the_end_of_the_thread_from_the_start_of_a_turn(
    thread: list[Said], window: int | None, system_prompt: str, max_tokens: int
) -> None:
    kept = fit(thread, context_tokens=window, system_prompt=system_prompt, max_tokens=max_tokens)

    left_out = len(thread) - len(kept)
    assert list(kept) == thread[left_out:]
    assert not thread or left_out in starts_of_turns(thread)


@given(threads, st.integers(1, 4000), st.text(max_size=300), st.integers(1, 5000))
def test_what_is_kept_fits_unless_it_is_the_last_turn_alone(
    thread: list[Said], window: int, system_prompt: str, max_tokens: int
) -> None:
    kept = fit(thread, context_tokens=window, system_prompt=system_prompt, max_tokens=max_tokens)

    reserve = min(max_tokens, window // 2)
    prompt = cost([Said(0, "system", system_prompt)]) if system_prompt else 0
    last_turn_alone = bool(thread) and len(thread) - len(kept) == starts_of_turns(thread)[-1]
    assert cost(kept) + prompt + reserve <= window or last_turn_alone or not thread


@given(threads, windows, st.integers(1, 5000))
def test_the_last_message_of_the_user_always_stays(thread: list[Said], window: int | None, max_tokens: int) -> None:
    asked = [message for message in thread if message.role == "user"]
    assume(asked)

    assert asked[-1] in fit(thread, context_tokens=window, system_prompt=None, max_tokens=max_tokens)


@given(threads, st.text(max_size=300), st.integers(1, 5000))
def test_nothing_leaves_a_window_that_has_room(thread: list[Said], system_prompt: str, max_tokens: int) -> None:
    window = 2 * (cost(thread) + estimate_tokens(system_prompt) + 50 + max_tokens)

    assert fit(thread, context_tokens=window, system_prompt=system_prompt, max_tokens=max_tokens) == tuple(thread)
    assert fit(thread, context_tokens=None, system_prompt=system_prompt, max_tokens=max_tokens) == tuple(thread)


def test_a_reply_may_ask_for_more_than_the_window_and_half_of_it_is_for_the_prompt() -> None:
    thread = conversation(*["word " * 40] * 4)
    kept = fit(thread, context_tokens=1000, system_prompt=None, max_tokens=10_000)

    assert 0 < cost(kept) <= 500
    assert len(kept) > 2


def test_the_start_of_what_is_sent_stays_for_some_turns() -> None:
    starts = []
    for length in range(20, 60):
        kept = fit(conversation(*["word " * 20] * length), context_tokens=2000, system_prompt="Hi", max_tokens=100)
        starts.append(kept[0].id)

    moves = [later - earlier for earlier, later in pairwise(starts)]
    assert set(moves) - {0}, "the conversation is longer than the window"
    assert sum(move > 0 for move in moves) <= len(moves) / 2


# shrink


@given(threads)
def test_shrinking_again_and_again_ends_with_the_last_turn(thread: list[Said]) -> None:
    seen: tuple[Said, ...] = tuple(thread)
    while (shorter := shrink(seen)) is not None:
        assert 0 < len(shorter) < len(seen)
        assert shorter == seen[-len(shorter) :]
        seen = shorter

    assert not thread or len(thread) - len(seen) == starts_of_turns(thread)[-1]


def test_about_a_quarter_leaves_at_a_time() -> None:
    thread = conversation(*["word " * 20] * 16)

    assert [message.id for message in shrink(thread) or ()] == list(range(8, 32))


def test_a_long_first_turn_leaves_whole() -> None:
    thread = conversation("word " * 1000, "short", "short")

    assert shrink(thread) == tuple(thread[2:])


def test_the_last_turn_alone_cannot_shrink() -> None:
    assert shrink(conversation("word " * 1000)) is None
    assert shrink([]) is None


# the estimate; tests/inference/test_local.py compares it with a real tokenizer


@given(st.text(), st.text())
def test_a_longer_text_has_no_fewer_tokens(text: str, more: str) -> None:
    assert estimate_tokens(text) <= estimate_tokens(text + more)


@pytest.mark.parametrize("character", ["字", "語", "한", "😀", "𓀀", "ह", "ไ", "é", "Ж"])
def test_a_character_outside_ascii_counts_at_least_one_token(character: str) -> None:
    assert estimate_tokens(character * 10) >= 10


@given(st.text())
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    assert estimate_tokens(text) <= len(text.encode("utf-8", "replace"))
