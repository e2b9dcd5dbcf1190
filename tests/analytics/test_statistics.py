from __future__ import annotations

from fractions import Fraction
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfeedback.analytics.statistics import Proportion, nearest_rank


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # scipy.stats.binomtest(count, of).proportion_ci(method="wilson")
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_interval_equals_published_values(count: int, of: int, low: float, high: float) -> None:
    assert Proportion(count, of).interval() == pytest.approx((low, high), abs=5e-5)


@given(of=st.integers(1, 10**6), part=st.fractions(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_bounds_satisfy_equation_of_wilson(of: int, part: Fraction, confidence: float) -> None:
    share = Proportion(int(part * of), of)
    bounds = share.interval(confidence)
    assert share.value is not None and bounds is not None
    assert 0 <= bounds[0] <= share.value <= bounds[1] <= 1
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    for bound, end in zip(bounds, (0, of), strict=True):
        if share.count != end:
            assert (share.value - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / of, rel=1e-6)


def test_proportion_of_nothing_has_no_value_and_no_interval() -> None:
    assert Proportion(0, 0).value is None
    assert Proportion(0, 0).interval() is None


@given(percent=st.integers(1, 100), n=st.integers(1, 1000))
def test_nearest_rank_is_first_that_covers_percentage(percent: int, n: int) -> None:
    assert nearest_rank(percent, n) == next(k for k in range(1, n + 1) if Fraction(k, n) >= Fraction(percent, 100))
