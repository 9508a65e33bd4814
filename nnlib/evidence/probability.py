"""What a study of one run each, or of a few, would come to: probabilities over the seeds, counted exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlib.evidence.claims import Measured, all_pairs, as_diverged, cases, number
from nnlib.evidence.statistics import Interval, Values, percentile_interval, resample_weights
from nnlib.evidence.study import Claim, Comparison

# The runs that something depends on, and whether it holds for each combination of their replicas, an axis for each run.
Factor = tuple[tuple[str, ...], np.ndarray[Any, np.dtype[Any]]]


def single_run_probability(
    claim: Claim, measured: Measured, *, confidence: float, resamples: int, seed: int
) -> Interval:
    """How often a study of one run of each configuration, with seeds of their own, would report the claim.

    That all its comparisons hold by the study's own reading, without a margin, counted over all combinations of one
    replica of each run; the interval is the bootstrap's over the seeds. NaN if a run is not there.
    """
    factors: list[Factor] = []
    try:
        for comparison in claim.comparisons:
            numbers = {name: as_diverged(name, number(measured, name)) for name in comparison.names}
            runs, values = all_pairs(comparison, numbers)
            factors.append((tuple(runs), cases(comparison, values, 0)[0]))
    except LookupError:
        return Interval(np.nan, np.nan, np.nan)
    return _with_interval(factors, confidence=confidence, resamples=resamples, seed=seed)


def probability_of_improvement(
    comparison: Comparison, measured: Measured, *, confidence: float, resamples: int, seed: int
) -> Interval:
    """P(A > B) + P(A = B) / 2 for one run of each, with seeds of their own, of a difference A − B.

    X. Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks* (2021), ask for it with its interval
    and call it meaningful from 0.75. NaN for what is no difference of two runs, or is not there.
    """
    try:
        numbers = {name: as_diverged(name, number(measured, name)) for name in comparison.names}
    except LookupError:
        numbers = {}
    if not numbers or comparison.sum_of_signs or not comparison.minus:
        return Interval(np.nan, np.nan, np.nan)
    runs, values = all_pairs(comparison, numbers)
    ahead = np.where(np.isnan(values), 0.5, (np.sign(values) + 1) / 2)
    return _with_interval([(tuple(runs), ahead)], confidence=confidence, resamples=resamples, seed=seed)


def _with_interval(factors: Sequence[Factor], *, confidence: float, resamples: int, seed: int) -> Interval:
    replicas = factors[0][1].shape[0]
    # One seed has replicas in all runs, so that a resample has the same seeds in all of them.
    weights = np.vstack([np.full(replicas, 1 / replicas), resample_weights(replicas, resamples, seed)])
    shares = probability(factors, weights)
    return percentile_interval(shares[1:], float(shares[0]), confidence)


def probability(factors: Sequence[Factor], weights: Values) -> Values:
    """The probability that all factors hold, where each run's replica is drawn by weights of its own.

    Runs that share no factor are independent; in a group that hangs together, the run with the most factors is fixed to
    each of its replicas in turn, which leaves smaller groups.

    Parameters
    ----------
    weights : (resamples, replicas), the same for every run

    Returns
    -------
    (resamples,)
    """
    result = np.ones(len(weights))
    for group in _groups(factors):
        runs = Counter(run for names, _ in group for run in names)
        if len(runs) <= 1:
            together = np.prod([values for _, values in group], axis=0)
            result = result * (weights @ together if runs else together)
            continue
        hub = max(runs, key=runs.__getitem__)
        if all(len(names) <= 2 and (hub in names or len(names) == 1) for names, _ in group):
            result = result * (weights * _star(group, hub, weights)).sum(1)
            continue
        fixed = np.zeros(len(weights))
        for replica in range(weights.shape[1]):
            fixed += weights[:, replica] * probability([_fix(factor, hub, replica) for factor in group], weights)
        result = result * fixed
    return result


def _star(factors: Sequence[Factor], hub: str, weights: Values) -> Values:
    """The same for runs that depend on each other through a hub alone: for each of its replicas, (resamples,
    replicas)."""
    replicas = weights.shape[1]
    leaves: dict[str, Values] = {}
    for names, values in factors:
        leaf = next((name for name in names if name != hub), hub)
        if len(names) == 1:  # the same for all replicas of the other run
            values = values[:, None] if names == (hub,) else values[None]
        elif names[0] != hub:
            values = values.T
        leaves[leaf] = leaves.get(leaf, np.ones((replicas, replicas))) * values
    own = leaves.pop(hub, np.ones((replicas, 1)))[:, 0]
    return np.prod([weights @ values.T for values in leaves.values()], axis=0) * own


def _fix(factor: Factor, run: str, replica: int) -> Factor:
    names, values = factor
    if run not in names:
        return factor
    return tuple(name for name in names if name != run), values.take(replica, axis=names.index(run))


def _groups(factors: Sequence[Factor]) -> list[list[Factor]]:
    """The factors in groups that share no run; those of no run, which are numbers, each alone."""
    groups: list[tuple[set[str], list[Factor]]] = []
    for factor in factors:
        runs, members = set(factor[0]), [factor]
        for other in [other for other in groups if other[0] & runs]:
            groups.remove(other)
            runs, members = runs | other[0], other[1] + members
        groups.append((runs, members))
    return [members for _, members in groups]


def winner_shares(
    runs: Mapping[str, Values], counts: Sequence[int], *, draws: int, seed: int
) -> dict[int, dict[str, float]]:
    """How often each of several runs has the highest mean of n replicas, drawn with replacement, for each n."""
    random = np.random.default_rng(seed)
    values = {run: np.nan_to_num(np.asarray(column, dtype=float), nan=-np.inf) for run, column in runs.items()}
    shares = {}
    for n in counts:
        means = np.array([column[random.integers(0, len(column), (draws, n))].mean(1) for column in values.values()])
        best = means.argmax(0)
        shares[n] = {run: float(np.mean(best == place)) for place, run in enumerate(values)}
    return shares
