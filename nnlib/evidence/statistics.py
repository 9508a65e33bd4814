"""What many seeds say, by methods that assume nothing but that the seeds are independent of each other.

Of n seeds, how many fall on one side? If a value is as likely to lie on either side of a bound, that number is binomial
with a share of one half, whatever the distribution: skewed, with outliers, of two humps, or infinite where a replica
diverged. So the sign test is exact, and so is the interval that it gives for the median. J. Dixon and A. Mood, *The
Statistical Sign Test* (1946); W. Conover, *Practical Nonparametric Statistics* (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; NaN where there are too few values to say."""

    estimate: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def known(values: Any) -> Values:
    """The values as an array, without those that are NaN."""
    values = np.asarray(values, dtype=float)
    return values[~np.isnan(values)]


def median_interval(values: Any, confidence: float) -> Interval:
    """The median with its exact interval, from one of the sorted values to another; its confidence is at least as
    asked.

    NaN is left out; infinities count. Fewer than six values have no 95 % interval.
    """
    values = known(values)
    if not len(values):
        return UNKNOWN
    # Between two infinities of one sign NumPy finds NaN in the middle.
    low, high = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    median = float(low if low == high else (low + high) / 2)
    interval = stats.quantile_test(values, p=0.5).confidence_interval(confidence)
    ends = (interval.low, interval.high)
    return Interval(median, *map(float, ends)) if not np.isnan(ends).any() else Interval(median, np.nan, np.nan)


def share_interval(successes: int, trials: int, confidence: float) -> Interval:
    """A share with the exact interval of C. Clopper and E. Pearson (1934)."""
    if not trials:
        return UNKNOWN
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def percentile_interval(values: Values, estimate: float, confidence: float) -> Interval:
    """An estimate with the bootstrap's percentile interval, from its values in the resamples."""
    if not np.isfinite(values).all():
        return Interval(estimate, np.nan, np.nan)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))


def resample_weights(values: int, resamples: int, seed: int) -> Values:
    """(resamples, values): how much each value counts in resamples of them with replacement; rows add up to 1."""
    random = np.random.default_rng(seed)
    return random.multinomial(values, np.full(values, 1 / values), size=resamples) / values


def sign_p(successes: int, trials: int) -> float:
    """The exact p-value, for both sides, of so many successes if each is as likely as not; 1 without trials."""
    return float(stats.binomtest(successes, trials).pvalue) if trials else 1.0


def holm(p_values: Sequence[float]) -> Values:
    """p-values corrected for how many there are, by S. Holm's step-down method (1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def holm_levels(p_values: Sequence[float], level: float) -> list[float]:
    """The level at which Holm's method tests each hypothesis; 0 for those that it no longer reaches."""
    levels = [0.0] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        own = level / (len(p_values) - rank)
        if p_values[place] > own:
            break
        levels[place] = own
    return levels


def percentile(value: float, values: Any) -> float:
    """Where a value falls among others: the percentage below it, half of those equal to it."""
    values = known(values)
    return float(stats.percentileofscore(values, value, kind="mean")) if len(values) else np.nan


def middle(values: Any, share: float = 0.9) -> tuple[float, float]:
    """Between which values the middle 90 % lie; NaN is left out."""
    values = known(values)
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
