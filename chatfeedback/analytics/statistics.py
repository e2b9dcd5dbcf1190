"""Statistics of the figures: a proportion with its confidence interval, and the nearest-rank percentile."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """Proportion: `count` out of `total`."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """Proportion, 0 to 1; None if `total` is 0. More than 1 if `count` is not a part of `total`."""
        return self.count / self.total if self.total else None

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Return the confidence interval of the proportion of which this is a sample; None if `total` is 0.

        The score interval of Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
        the American Statistical Association 22 (1927), without continuity correction. It stays within 0 and 1, and
        holds for few observations and for proportions near 0 and 1.
        """
        if not self.total:
            return None
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        n, p = self.total, self.count / self.total
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        # At the ends the bound is exactly 0 or 1, despite rounding.
        return (centre - half if self.count else 0.0), (centre + half if self.count < n else 1.0)


def nearest_rank(percent: int, n: int) -> int:
    """Return the nearest rank (1 to n) of a percentile among n sorted values.

    It is the lowest rank with at least `percent` of the values at or below it.
    """
    return max(1, -(-percent * n // 100))
