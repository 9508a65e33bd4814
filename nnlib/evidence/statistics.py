"""What many seeds say: intervals instead of points, pairs by replica, exact tests, correction for many looks.

After R. Agarwal et al., *Deep Reinforcement Learning at the Edge of the Statistical Precipice* (2021), and
X. Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks* (2021). The methods are SciPy's.
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

    mean: float
    low: float
    high: float

    def record(self) -> dict[str, float | None]:
        """The three as JSON has them: None for what is not there."""
        return {name: None if np.isnan(value) else value for name, value in vars(self).items()}


def mean_interval(
    values: Sequence[float] | Values, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    """The mean with its BCa bootstrap interval (B. Efron, 1987), seeded.

    NaNs, runs that diverged, are left out. One value alone, or none, has no interval. Where all values are the same,
    so is the interval.
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Interval(float(values[0]) if len(values) else np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return Interval(mean, mean, mean)
    result = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


def share_interval(successes: int, trials: int, confidence: float) -> Interval:
    """A share with its Wilson interval; for the probability of improvement and the rate of collapse."""
    if not trials:
        return Interval(np.nan, np.nan, np.nan)
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def sign_flip_p(differences: Sequence[float] | Values, alternative: str) -> float:
    """The p-value of paired differences by sign flips: how often chance signs give a mean as large ("greater") or as
    small ("less").

    Exact up to 13 pairs, so that with n pairs it cannot be below 2⁻ⁿ: two replicas never prove anything. Beyond, by
    9,999 seeded flips.
    """
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return 1.0
    if len(values) == 1:
        return 0.5 if (values[0] if alternative == "greater" else -values[0]) > 0 else 1.0
    result = stats.permutation_test(
        (values,),
        lambda sample, axis: sample.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        alternative=alternative,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def max_sign_flip_p(differences: Values) -> float:
    """The p-value that at least one of several paired differences has a mean above 0, whatever their number.

    Replicas' signs are flipped for all differences together, and the largest of their t statistics is compared:
    P. Westfall and S. Young's maxT (1993), which needs no further correction and knows how the differences hang
    together. Exact up to 13 replicas, else by 9,999 seeded flips.

    Parameters
    ----------
    differences : (replicas, how many); NaN, a run that diverged, counts as no difference
    """
    values = np.nan_to_num(np.asarray(differences, dtype=float))
    replicas = len(values)
    if not replicas:
        return 1.0
    if replicas <= 13:
        signs = 1 - 2 * ((np.arange(2**replicas)[:, None] >> np.arange(replicas)) & 1)
    else:
        random = np.random.default_rng(0)
        signs = np.vstack([np.ones(replicas, dtype=int), random.choice([-1, 1], (9999, replicas))])
    means = signs @ values / replicas
    # Flipping signs leaves the mean square as it is: t rises with mean / root mean square.
    scale = np.sqrt((values**2).mean(0))
    largest = np.max(means / np.where(scale > 0, scale, 1), axis=1)
    return float((largest >= largest[0] - 1e-12).mean())


def holm(p_values: Sequence[float]) -> Values:
    """p-values corrected for how many there are, by S. Holm's step-down method (1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def percentile(value: float, values: Sequence[float] | Values) -> float:
    """Where a value falls among others: the percentage below it, half of those equal to it."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    return float(stats.percentileofscore(values, value, kind="mean")) if len(values) else np.nan
