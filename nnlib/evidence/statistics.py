"""What many seeds say, by methods that assume nothing but that the seeds are independent of each other.

One idea carries all of it: of n seeds, how many fall on one side? If a value is as likely to lie on either side of a
bound, that number is binomial with a share of one half, whatever the distribution: skewed, with outliers, of two humps,
or infinite where a replica diverged. So the sign test is exact, and so is the interval that it gives for the median.
J. Dixon and A. Mood, *The Statistical Sign Test* (1946); W. Conover, *Practical Nonparametric Statistics* (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

Values = np.ndarray[Any, np.dtype[np.float64]]

# How likely so many replicas must be to decide, to be called enough; and the most that are tried.
POWER = 0.8
MOST = 10**4


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; NaN where there are too few values to say."""

    estimate: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def median_interval(values: Sequence[float] | Values, confidence: float) -> Interval:
    """The median with its exact interval, from one of the sorted values to another.

    The true median lies below the j-th smallest of n values only if fewer than j of them fall below it, of which the
    binomial distribution gives the probability. A value that is far off moves neither end by more than one place. NaN
    is left out; infinities count. Fewer than six values have no 95 % interval.
    """
    ordered = np.sort(_known(values))
    n = len(ordered)
    if not n:
        return UNKNOWN
    # The largest j with P(B < j) ≤ (1 − confidence) / 2; the small number is for confidences that are met exactly.
    j = int(stats.binom.ppf((1 - confidence) / 2 + 1e-12, n, 0.5))
    below, above = ordered[(n - 1) // 2], ordered[n // 2]
    median = float(below if below == above else (below + above) / 2)
    return Interval(median, float(ordered[j - 1]), float(ordered[n - j])) if j else Interval(median, np.nan, np.nan)


def share_interval(successes: int, trials: int, confidence: float) -> Interval:
    """A share with the exact interval of C. Clopper and E. Pearson (1934)."""
    if not trials:
        return UNKNOWN
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def sign_p(successes: int, trials: int) -> float:
    """The exact p-value, for both sides, of so many successes if each is as likely as not; 1 without trials."""
    return float(stats.binomtest(successes, trials).pvalue) if trials else 1.0


def holm(p_values: Sequence[float]) -> Values:
    """p-values corrected for how many there are, by S. Holm's step-down method (1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def trials_needed(share: float, level: float) -> int | None:
    """How many trials a sign test at this level needs to find such a share, in `POWER` of all cases.

    Drawing n of our replicas again, with replacement, the successes are binomial with our share: the resampling is
    exact, without drawing. None where `MOST` do not suffice, as for a share of one half.
    """
    share = max(share, 1 - share)
    n, k = _fewest_of_each(MOST, level)
    enough = n[stats.binom.sf(k - 1, n, share) >= POWER]
    return int(enough.min()) if len(enough) else None


@cache  # a report asks at one level again and again
def _fewest_of_each(most: int, level: float) -> tuple[Any, Any]:
    """1, 2, ... trials, and of each the fewest successes."""
    n = np.arange(1, most + 1)
    return n, fewest_successes(n, level)


def fewest_successes(trials: Any, level: float) -> Any:
    """How many of so many trials decide a sign test, more than `trials` if none do: P(B ≥ k) ≤ level / 2."""
    return stats.binom.isf(level / 2, trials, 0.5) + 1


def share_found(trials: int, level: float) -> float:
    """The share of successes from which on a sign test of so many trials decides in `POWER` of all cases; NaN for none.

    P(B ≥ k) as a function of the share is the beta distribution of k and n − k + 1.
    """
    k = fewest_successes(trials, level)
    return float(stats.beta.ppf(POWER, k, trials - k + 1)) if k <= trials else np.nan


def fewest_trials(tests: int, level: float) -> int:
    """With how many trials, all of one kind, the first of so many tests decides: 2 · 2⁻ⁿ · tests ≤ level."""
    return int(np.ceil(np.log2(2 * tests / level)))


def percentile(value: float, values: Sequence[float] | Values) -> float:
    """Where a value falls among others: the percentage below it, half of those equal to it."""
    known = _known(values)
    return float(stats.percentileofscore(known, value, kind="mean")) if len(known) else np.nan


def _known(values: Sequence[float] | Values) -> Values:
    values = np.asarray(values, dtype=float)
    return values[~np.isnan(values)]
