"""What a study of one run each, or of a few, would come to: probabilities over the seeds, counted exactly.

Of n replicas of each run, every combination of one replica of each is one study of single runs with seeds of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from nnlib.evidence.claims import DECIMALS, Measured, all_pairs, cases, counted_numbers
from nnlib.evidence.statistics import (
    UNKNOWN,
    Interval,
    Values,
    percentile_interval,
    resample_weights,
    share_interval,
)
from nnlib.evidence.study import Claim, Comparison

# The runs that something depends on, and whether it holds for each combination of their replicas, an axis for each run.
Factor = tuple[tuple[str, ...], np.ndarray[Any, np.dtype[Any]]]
# Numbers that one step of a count may hold at a time.
LARGEST = 10**7


def single_run_probability(
    claim: Claim, measured: Measured, *, confidence: float, resamples: int, seed: int
) -> Interval:
    """How often a study of one run of each configuration, with seeds of their own, would report the claim.

    That is, that all its comparisons hold, without a margin. The interval is the bootstrap's over the seeds. Unknown if
    a run is not there, or all of it diverged.
    """
    factors: list[Factor] = []
    try:
        for comparison in claim.comparisons:
            runs, values = all_pairs(comparison, counted_numbers(comparison, measured))
            factors.append((tuple(runs), cases(comparison, values, 0)[0]))
    except LookupError:
        return UNKNOWN
    return _with_interval(factors, confidence=confidence, resamples=resamples, seed=seed)


def probability_of_improvement(
    comparison: Comparison, measured: Measured, *, confidence: float, resamples: int, seed: int
) -> Interval:
    """P(A > B) + P(A = B) / 2 for one run of each, with seeds of their own, where A is compared with B.

    X. Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks* (2021), ask for it with its interval
    and call it meaningful from 0.75. Unknown for what compares no two numbers, or is not there.
    """
    other = comparison.minus or comparison.over
    if comparison.sum_of_signs or not other:
        return UNKNOWN
    try:
        numbers = counted_numbers(comparison, measured)
    except LookupError:
        return UNKNOWN
    runs, values = all_pairs(comparison.replace(minus=other, over=None), numbers)
    ahead = np.where(np.isnan(values), 0.5, (np.sign(np.round(values, DECIMALS)) + 1) / 2)
    return _with_interval([(tuple(runs), ahead)], confidence=confidence, resamples=resamples, seed=seed)


def _with_interval(factors: Sequence[Factor], *, confidence: float, resamples: int, seed: int) -> Interval:
    """The probability with the bootstrap's interval. If all combinations agree the bootstrap has nothing to vary. Then
    the interval is the exact one of n agreeing studies that share no replica."""
    replicas = factors[0][1].shape[0]
    estimate = float(probability(factors, np.full((1, replicas), 1 / replicas))[0])
    if min(estimate, 1 - estimate) < 1e-9:
        return share_interval(round(estimate) * replicas, replicas, confidence)
    # One seed has a replica in every run, so that a resample has the same seeds in all of them.
    resampled = probability(factors, resample_weights(replicas, resamples, seed))
    return percentile_interval(resampled, estimate, confidence)


def probability(factors: Sequence[Factor], weights: Values) -> Values:
    """The probability that all factors hold, where each run's replica is drawn by these weights, each run for itself.

    It is the sum over all combinations of replicas of the product of weights and factors; `numpy.einsum` finds the
    order in which to sum over the runs.

    Parameters
    ----------
    weights : (resamples, replicas), the same for every run; rows add up to 1

    Returns
    -------
    (resamples,)
    """
    runs = dict.fromkeys(run for names, _ in factors for run in names)
    axes = {run: axis for axis, run in enumerate(runs, start=1)}
    parts = np.array_split(weights, ceil(weights.shape[1] ** 2 * len(weights) / LARGEST))
    found = []
    for part in parts:
        operands: list[Any] = []
        for names, values in factors:
            operands += [values.astype(float), [axes[run] for run in names]]
        for run in runs:
            operands += [part, [0, axes[run]]]
        found.append(np.einsum(*operands, [0], optimize=("greedy", LARGEST)))
    return np.concatenate(found)


def winner_shares(
    runs: Mapping[str, Sequence[float] | Values], counts: Sequence[int], *, draws: int, seed: int
) -> dict[int, dict[str, float]]:
    """How often each of several runs has the highest mean of n replicas, for each n; equal ones share the win.

    Of one replica each it is counted exactly (`single_run_wins`), of more they are drawn with replacement. A mean
    with a replica that diverged is below all others, and never the highest.
    """
    random = np.random.default_rng(seed)
    values = _diverged_last(runs)
    shares = {}
    for n in counts:
        if n == 1:
            shares[n] = single_run_wins(runs)
            continue
        # Rounded, so that equal means do not differ in their last bit by the order of their sums.
        means = np.array([column[random.integers(0, len(column), (draws, n))].mean(1) for column in values.values()])
        means = means.round(12)
        best = (means == means.max(0)) & np.isfinite(means)
        shares[n] = dict(zip(values, (best / np.maximum(1, best.sum(0))).mean(1).tolist(), strict=True))
    return shares


def single_run_wins(runs: Mapping[str, Sequence[float] | Values]) -> dict[str, float]:
    """How often each of several runs is the highest of one replica of each, counted exactly; equal ones share the win.

    A replica that diverged is below all others, and never the highest.
    """
    values = _diverged_last(runs)
    return {run: _wins(run, values) for run in values}


def _diverged_last(runs: Mapping[str, Sequence[float] | Values]) -> dict[str, Values]:
    return {run: np.nan_to_num(np.asarray(column, dtype=float), nan=-np.inf) for run, column in runs.items()}


def _wins(run: str, values: Mapping[str, Values]) -> float:
    """The probability that one replica of a run is the highest of one of each. With k equal ones it wins 1 / (k + 1),
    the integral of z^k from 0 to 1, so that the others factor."""
    share = 0.0
    for value in values[run][np.isfinite(values[run])]:
        others = Polynomial([1.0])
        for other, column in values.items():
            if other != run:
                others *= Polynomial([(column < value).mean(), (column == value).mean()])
        share += others.integ()(1) / len(values[run])
    return float(share)
