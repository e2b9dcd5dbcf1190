from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.domain.query_string import single_values
from chatfeedback.errors import InputError


@given(pairs=st.lists(st.tuples(st.sampled_from(["since", "until", ""]) | st.text(max_size=3), st.text(max_size=3))))
def test_single_values_returns_every_value_or_refuses_repeated_name(pairs: list[tuple[str, str]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        assert list(single_values(pairs).items()) == pairs
        return
    with pytest.raises(InputError) as refused:
        single_values(pairs)
    assert any(str(refused.value).startswith(repr(name)) for name in names if names.count(name) > 1)
