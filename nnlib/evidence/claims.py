"""From claims to verdicts: each claim is a rule over measured numbers, decided by intervals over replicas.

A claim is one or more comparisons, all of which must hold. A comparison is a quantity, one number for each replica, and
the region in which the claim says that its mean lies. Replicas are paired: replica k starts from the same weights and
the same order in every configuration. A comparison holds when its interval lies inside the region and the exact
sign-flip test, corrected for the number of claims, agrees; it fails when the interval lies outside, likewise. Anything
else is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnlib.errors import InputError
from nnlib.evidence.statistics import (
    Interval,
    Values,
    holm,
    max_sign_flip_p,
    mean_interval,
    share_interval,
    sign_flip_p,
)

# Measured: run → measure → one value for each replica.
Measured = Mapping[str, Mapping[str, Sequence[float] | Values]]

VERDICTS = SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
SILENT = "silent"


@dataclass(frozen=True)
class Comparison:
    """A quantity and the region where the claim places its mean.

    Attributes
    ----------
    of : "run/measure", the number itself
    minus, over : a second "run/measure" to subtract or to divide by; at most one of them
    low, high : the region, without its ends; infinite where the claim sets no bound
    """

    of: str
    minus: str | None = None
    over: str | None = None
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if self.minus and self.over:
            raise InputError(f"comparison of {self.of}: expected minus or over, got both")
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise InputError(
                f"comparison of {self.of}: expected low < high, one of them finite, got {self.low}, {self.high}"
            )

    def quantity(self, measured: Measured) -> Values:
        """The values replica by replica; NaN where a replica diverged on either side.

        Raises
        ------
        LookupError
            If a run or its measure is not there: a grid without that cell, a network without that layer.
        """
        values = _values(measured, self.of)
        if self.minus:
            return values - _values(measured, self.minus)
        if self.over:
            return values / _values(measured, self.over)
        return values

    def values(self, measured: Measured) -> Values:
        """The same, and nothing where it is not there."""
        try:
            return self.quantity(measured)
        except LookupError:
            return np.empty(0)

    def __str__(self) -> str:
        sign, other = ("−", self.minus) if self.minus else ("/", self.over)
        return f"{self.of} {sign} {other}" if other else self.of

    def contains(self, value: float) -> bool:
        return self.low < value < self.high

    def p_inside(self, values: Values) -> float:
        """How likely such values are if the true mean lies on or outside a bound."""
        return max(sign_flip_p(side * (values - bound), "greater") for side, bound in self._bounds())

    def beyond(self, values: Values) -> list[Values]:
        """For each finite bound, how far the values lie beyond it, outside the region."""
        return [side * (bound - values) for side, bound in self._bounds()]

    def _bounds(self) -> list[tuple[int, float]]:
        return [(side, bound) for side, bound in ((1, self.low), (-1, self.high)) if math.isfinite(bound)]


@dataclass(frozen=True)
class Claim:
    id: str
    says: str
    comparisons: tuple[Comparison, ...]
    figure: str
    note: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Claim:
        """A claim from its YAML record.

        Raises
        ------
        ValueError
            If the record has an unknown key or lacks one, with the claim's id.
        """
        try:
            comparisons = tuple(Comparison(**one) for one in record["comparisons"])
            claim = cls(**{**record, "comparisons": comparisons})
        except (TypeError, KeyError) as error:
            raise InputError(f"claim {record.get('id', '?')}: {error}") from None
        if not comparisons:
            raise InputError(f"claim {claim.id}: expected one or more comparisons, got none")
        return claim

    @property
    def names(self) -> list[str]:
        """Every "run/measure" that the claim speaks of."""
        sides = ((one.of, one.minus, one.over) for one in self.comparisons)
        return [name for names in sides for name in names if name]


@dataclass(frozen=True)
class Effect:
    """What one comparison measured: mean and interval, the share of replicas in which it held, the published value."""

    comparison: Comparison
    interval: Interval
    improved: Interval
    published: float | None
    verdict: str = UNDECIDED


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    verdict: str
    effects: tuple[Effect, ...] = field(default=())
    p: float = 1.0
    by_own_table: str = SILENT

    @property
    def decisive(self) -> Effect:
        """The effect that the verdict hangs on: the first that fails, else the first undecided, else the closest."""
        for verdict in (CONTRADICTED, UNDECIDED):
            for effect in self.effects:
                if effect.verdict == verdict:
                    return effect
        return min(self.effects, key=_distance)


def decide(
    claims: Sequence[Claim],
    measured: Measured,
    published: Mapping[str, Mapping[str, float]],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Verdict]:
    """The verdict on every claim.

    A claim is supported when every one of its comparisons is inside its region, contradicted when one is outside. The
    p-value of "supported" is the largest of its comparisons' (all must hold, so no correction is due); that of
    "contradicted" is the maxT p-value over all of them (one is enough). The smaller of the two, doubled for the two
    ways to look, is corrected over all claims by Holm's method and must be at most 1 − confidence. A claim is not
    tested if what it compares is not there.
    """
    quantities = [[comparison.values(measured) for comparison in claim.comparisons] for claim in claims]
    inside = [
        max(one.p_inside(values) for one, values in zip(claim.comparisons, group, strict=True))
        for claim, group in zip(claims, quantities, strict=True)
    ]
    outside = [_p_outside(claim.comparisons, group) for claim, group in zip(claims, quantities, strict=True)]
    corrected = holm([min(1.0, 2 * min(pair)) for pair in zip(inside, outside, strict=True)])
    alpha = 1 - confidence
    verdicts = []
    for claim, group, p, p_in, p_out in zip(claims, quantities, corrected, inside, outside, strict=True):
        effects = tuple(
            _effect(comparison, values, published, confidence, resamples, seed)
            for comparison, values in zip(claim.comparisons, group, strict=True)
        )
        verdict = UNDECIDED
        if not all(len(values) for values in group):
            verdict = NOT_TESTED
        elif p <= alpha and p_in < p_out and all(effect.verdict == SUPPORTED for effect in effects):
            verdict = SUPPORTED
        elif p <= alpha and p_out <= p_in and any(effect.verdict == CONTRADICTED for effect in effects):
            verdict = CONTRADICTED
        verdicts.append(Verdict(claim, verdict, effects, float(p), _own_table(effects)))
    return verdicts


def _p_outside(comparisons: Sequence[Comparison], group: Sequence[Values]) -> float:
    """How likely such values are if every true mean lies inside its region. Runs that are not there play no part."""
    there = [(one, values) for one, values in zip(comparisons, group, strict=True) if len(values)]
    columns = [beyond for one, values in there for beyond in one.beyond(values)]
    return max_sign_flip_p(np.column_stack(columns)) if columns else 1.0


def _effect(
    comparison: Comparison,
    values: Values,
    published: Mapping[str, Mapping[str, float]],
    confidence: float,
    resamples: int,
    seed: int,
) -> Effect:
    interval = mean_interval(values, confidence, resamples, seed)
    there = values[~np.isnan(values)]
    held = share_interval(int(((there > comparison.low) & (there < comparison.high)).sum()), len(there), confidence)
    verdict = UNDECIDED
    if comparison.low < interval.low and interval.high < comparison.high:
        verdict = SUPPORTED
    elif interval.high <= comparison.low or interval.low >= comparison.high:
        verdict = CONTRADICTED
    return Effect(comparison, interval, held, _published(comparison, published), verdict)


def _published(comparison: Comparison, published: Mapping[str, Mapping[str, float]]) -> float | None:
    try:
        one = {run: {name: [value] for name, value in measures.items()} for run, measures in published.items()}
        return float(comparison.quantity(one)[0])
    except LookupError:
        return None


def _own_table(effects: Sequence[Effect]) -> str:
    """What the study's own numbers say of the claim, by the same regions, as far as it prints them."""
    known = [effect.comparison.contains(effect.published) for effect in effects if effect.published is not None]
    if not known:
        return SILENT
    return SUPPORTED if all(known) else CONTRADICTED


def _distance(effect: Effect) -> float:
    """How far the interval is from the nearest bound, in widths of the interval."""
    interval, comparison = effect.interval, effect.comparison
    width = max(interval.high - interval.low, 1e-12)
    return min(interval.low - comparison.low, comparison.high - interval.high) / width


def _values(measured: Measured, name: str) -> Values:
    run, _, measure = name.partition("/")
    if run not in measured:
        raise LookupError(f"{name}: there is no run {run!r}")
    if measure not in measured[run]:
        raise LookupError(f"{name}: run {run!r} has no measure {measure!r}")
    return np.asarray(measured[run][measure], dtype=float)
