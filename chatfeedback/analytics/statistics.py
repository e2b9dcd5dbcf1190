"""The statistics behind the figures: a share with its interval, and a rank in a sorted list."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """`count` out of `of`."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of nothing. More than 1 where `count` is not a part of `of`."""
        return self.count / self.of if self.of else None

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Where the share that these are a sample of lies, with this confidence; None of nothing.

        The score interval of Wilson, "Probable inference, the law of succession, and statistical inference",
        Journal of the American Statistical Association 22 (1927), without a correction for continuity. It stays
        within 0 and 1, and holds for few observations and for shares near the ends.
        """
        if not self.of:
            return None
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        n, p = self.of, self.count / self.of
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        # At the ends the bound is exactly 0 or 1, whatever the rounding.
        return (centre - half if self.count else 0.0), (centre + half if self.count < n else 1.0)


def nearest_rank(percent: int, n: int) -> int:
    """The place (1 to n) of a percentile among n sorted values: the least that `percent` of them do not exceed."""
    return max(1, -(-percent * n // 100))
