"""API keys: white space around them is removed, and what cannot be sent is refused in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from chatfeedback.config.keys import clean_key
from chatfeedback.config.models import ModelSettings
from chatfeedback.errors import SettingsError

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(key=VISIBLE, before=st.text(st.sampled_from(" \t\r\n")), after=st.text(st.sampled_from(" \t\r\n")))
def test_clean_key_removes_white_space_around_key(key: str, before: str, after: str) -> None:
    assert clean_key(before + key + after, "The key") == key


@given(start=VISIBLE, inner=st.characters(max_codepoint=0x20) | st.characters(min_codepoint=0x7F), end=VISIBLE)
def test_clean_key_refuses_other_characters_without_showing_key(start: str, inner: str, end: str) -> None:
    with pytest.raises(SettingsError) as caught:
        clean_key(start + inner + end, "The key of the model")
    assert str(caught.value) == (
        "The key of the model contains a character that no key has: white space, a control character, or one that is "
        "not ASCII; copy the key again, all of it on one line."
    )


def test_resolve_api_key_names_setting_of_key(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = ModelSettings(model="a", api_key_env="SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "sk-1\n")
    assert by_name.resolve_api_key() == SecretStr("sk-1")
    assert ModelSettings(model="a", api_key=SecretStr("sk-2\r\n")).resolve_api_key() == SecretStr("sk-2")
    for key in ("sk\n1", "\n", "sk-ключ"):
        monkeypatch.setenv("SOME_KEY", key)
        with pytest.raises(SettingsError, match="environment variable SOME_KEY"):
            by_name.resolve_api_key()
    with pytest.raises(SettingsError, match="api_key of the model 'a'"):
        ModelSettings(model="a", api_key=SecretStr("a b")).resolve_api_key()
