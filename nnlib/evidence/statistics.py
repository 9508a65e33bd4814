"""What many seeds say, by methods that assume nothing but that the seeds are independent of each other.

Of n seeds, how many fall on one side? If a value is as likely to lie on either side of a bound, that number is binomial
with a share of one half, whatever the distribution: skewed, with outliers, of two humps, or infinite where a replica
diverged. So the sign test is exact, and so is the interval that it gives for the median. W. Dixon and A. Mood, *The
Statistical Sign Test* (1946); W. Conover, *Practical Nonparametric Statistics* (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
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
    values = np.sort(known(values))
    if not len(values):
        return UNKNOWN
    # Between two infinities of one sign np.quantile finds NaN.
    below, above = values[(len(values) - 1) // 2], values[len(values) // 2]
    median = float(below if below == above else (below + above) / 2)
    ends = _median_ranks(len(values), confidence)
    return Interval(median, *(np.nan if rank is None else float(values[rank]) for rank in ends))


@cache
def _median_ranks(values: int, confidence: float) -> tuple[int, int] | tuple[None, None]:
    """Which of so many sorted values, counted from 0, are the ends of the median's interval; None if none are."""
    ends = stats.quantile_test(np.arange(values), p=0.5).confidence_interval(confidence)
    return (None, None) if np.isnan([ends.low, ends.high]).any() else (int(ends.low), int(ends.high))


@cache
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


@cache
def resample_weights(values: int, resamples: int, seed: int) -> Values:
    """(resamples, values): how much each value counts in resamples of them with replacement; rows add up to 1."""
    random = np.random.default_rng(seed)
    weights = random.multinomial(values, np.full(values, 1 / values), size=resamples) / values
    weights.flags.writeable = False
    return weights


@cache
def sign_p(successes: int, trials: int) -> float:
    """The exact p-value, for both sides, of so many successes if each is as likely as not; NaN without trials."""
    return float(stats.binomtest(successes, trials).pvalue) if trials else np.nan


def holm(p_values: Sequence[float]) -> Values:
    """p-values corrected for how many there are, by the step-down method of S. Holm (1979); NaN is left out."""
    return _corrected(p_values, lambda steps: np.maximum.accumulate(steps))


def hochberg(p_values: Sequence[float]) -> Values:
    """p-values corrected for how many there are, by the step-up method of Y. Hochberg (1988); NaN is left out.

    The largest p-value is not corrected: if even that reaches the level, all do. Needs the inequality of R. Simes
    (1986), which holds for tests that depend on each other as those of one claim do: positively, or if two-sided.
    """
    return _corrected(p_values, lambda steps: np.minimum.accumulate(steps[::-1])[::-1])


def _corrected(p_values: Sequence[float], accumulate: Any) -> Values:
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")[: len(known(p))]
    corrected = np.full_like(p, np.nan)
    corrected[order] = np.minimum(accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def holm_levels(p_values: Sequence[float], level: float) -> Values:
    """The level at which Holm's method tests each hypothesis, and at which it stops for all that it does not reject.

    That is level / n for the smallest of n p-values, level / (n − 1) for the next if that one is rejected, and so on.
    NaN is left out.
    """
    p = np.asarray(p_values, dtype=float)
    tests = len(known(p))
    rejected = int((holm(p_values) <= level).sum())
    levels = np.full_like(p, np.nan)
    levels[np.argsort(p, kind="stable")[:tests]] = level / (tests - np.minimum(np.arange(tests), rejected))
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
