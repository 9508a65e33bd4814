"""From claims to verdicts: each claim is one comparison or several, each decided by the seeds on its side.

Replica k starts from the same weights and sees the same order of examples in every configuration, so that comparisons
are made seed by seed. In each seed a comparison holds, or it does not; where it compares a difference with 0, it holds
if the difference lies beyond a margin on the claim's side. An exact sign test decides whether it holds in more than
half of all seeds, or in fewer. Where it holds in fewer, the median says what is there instead: no difference, if it
lies within the margin, or the contrary of the claim.

The claim is the unit that is corrected for: Holm's method gives each claim a level. That all parts hold is an
intersection-union test, which needs no correction inside the claim (R. Berger, 1982); that some part does is corrected
by Holm's method inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from nnlib.evidence.statistics import (
    UNKNOWN,
    Interval,
    Values,
    holm,
    holm_levels,
    median_interval,
    percentile,
    share_interval,
    sign_p,
)
from nnlib.evidence.study import DERIVED, Claim, Comparison, measure

# run → measure → one value for each replica, or the one that was published.
Measured = Mapping[str, Mapping[str, Any]]


class Word(StrEnum):
    """A verdict."""

    SUPPORTED = "supported"
    PARTLY_SUPPORTED = "partly supported"
    EQUIVALENT = "equivalent"
    PARTLY_CONTRADICTED = "partly contradicted"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"


# What the study's own numbers say of a claim.
AGREE, DISAGREE, NOT_PRINTED = "agree", "disagree", "not printed"


@dataclass(frozen=True)
class Finding:
    """What the replicas say of one comparison.

    Attributes
    ----------
    replicas : how many there are
    held, within, against : in how many it held beyond the margin, lay within it, lay beyond it on the other side
    share : held / replicas, with its interval
    size : the median of the quantity, with its interval
    p : of the sign test of `held`, for both sides
    verdict : of this comparison
    published, percentile : the number from the published ones, and where it falls among those of all pairs of replicas,
        since the published runs had seeds of their own
    """

    comparison: Comparison
    margin: float = 0.0
    replicas: int = 0
    held: int = 0
    within: int = 0
    against: int = 0
    share: Interval = UNKNOWN
    size: Interval = UNKNOWN
    p: float = 1.0
    verdict: Word = Word.NOT_TESTED
    published: float | None = None
    percentile: float = np.nan

    @property
    def leading(self) -> Word:
        """What it is called if the test decides."""
        if 2 * self.held > self.replicas:
            return Word.SUPPORTED
        return Word.EQUIVALENT if self.margin and abs(self.size.estimate) <= self.margin else Word.CONTRADICTED


@dataclass(frozen=True)
class Verdict:
    """A claim, the word on it, the findings that it comes from, and what the study's own numbers say.

    Attributes
    ----------
    p, corrected : of the claim: the smallest level at which it, alone and among all, gets a verdict
    level : at which Holm's method tests it; 0 if an earlier one ended the tests
    """

    claim: Claim
    word: Word
    findings: tuple[Finding, ...]
    own_numbers: str
    p: float
    corrected: float
    level: float


def decide(
    claims: Sequence[Claim],
    measured: Measured,
    published: Measured,
    *,
    margins: Mapping[str, float],
    confidence: float,
) -> list[Verdict]:
    """The verdict on every claim of one family.

    Parameters
    ----------
    claims : corrected together; another family's change nothing
    measured : of the replicas; those of one number are the same seed's in every run
    published : the study's own numbers
    margins : kind of measure, as in `Comparison.kind` → the difference that counts as none
    confidence : 1 less the level of the family
    """
    findings = [
        [finding(comparison, measured, published, margins, confidence) for comparison in claim.comparisons]
        for claim in claims
    ]
    p = [claim_p(parts, claim.every) for claim, parts in zip(claims, findings, strict=True)]
    verdicts = []
    for claim, parts, own, corrected, level in zip(
        claims, findings, p, holm(p), holm_levels(p, 1 - confidence), strict=True
    ):
        decided = tuple(replace(part, verdict=word) for part, word in zip(parts, part_words(parts, level), strict=True))
        word = claim_word([part.verdict for part in decided], every=claim.every)
        verdicts.append(Verdict(claim, word, decided, own_numbers(decided), own, float(corrected), level))
    return verdicts


def claim_p(parts: Sequence[Finding], every: bool) -> float:
    """The smallest level at which the claim gets a verdict: all parts alike, or some part, corrected inside."""
    tested = [part for part in parts if part.replicas]
    if not tested:
        return 1.0
    alike = len({part.leading for part in tested}) == 1 and len(tested) == len(parts)
    together = max(part.p for part in tested) if alike else 1.0
    return min(together, float(holm([part.p for part in tested]).min()))


def part_words(parts: Sequence[Finding], level: float) -> list[Word]:
    """The verdict on each part of a claim that is tested at a level."""
    tested = [part for part in parts if part.replicas]
    corrected = dict(zip(map(id, tested), holm([part.p for part in tested]), strict=True))
    alike = len({part.leading for part in tested}) == 1 and len(tested) == len(parts)
    if alike and max(part.p for part in tested) <= level:
        return [part.leading for part in parts]
    return [
        Word.NOT_TESTED if not part.replicas else part.leading if corrected[id(part)] <= level else Word.UNDECIDED
        for part in parts
    ]


def claim_word(parts: Sequence[Word], *, every: bool = False) -> Word:
    """The word on a claim from the words on its parts: theirs, if all have the same; else by the parts that stand out.

    A claim of every case is contradicted by one contradicted part.
    """
    if len(set(parts)) == 1:
        return parts[0]
    if Word.CONTRADICTED in parts and every:
        return Word.CONTRADICTED
    if Word.SUPPORTED in parts:
        return Word.PARTLY_SUPPORTED
    if Word.CONTRADICTED in parts:
        return Word.PARTLY_CONTRADICTED
    return Word.UNDECIDED


def finding(
    comparison: Comparison, measured: Measured, published: Measured, margins: Mapping[str, float], confidence: float
) -> Finding:
    """What can be said of one comparison without the others."""
    margin = margins.get(comparison.kind, 0.0)
    theirs = _published(comparison, published)
    try:
        numbers = {name: number(measured, name) for name in comparison.names}
    except LookupError:
        return Finding(comparison, margin, published=theirs)
    if not all((~np.isnan(values)).any() for values in numbers.values()):
        return Finding(comparison, margin, published=theirs)
    counted = {name: as_diverged(name, values) for name, values in numbers.items()}
    values = quantity(comparison, counted)
    held, within, against = (int(case.sum()) for case in cases(comparison, values, margin))
    return Finding(
        comparison,
        margin,
        len(values),
        held,
        within,
        against,
        share_interval(held, len(values), confidence),
        median_interval(values, confidence),
        sign_p(held, len(values)),
        published=theirs,
        percentile=np.nan if theirs is None else percentile(theirs, all_pairs(comparison, counted)[1].ravel()),
    )


def number(measured: Measured, name: str) -> Values:
    """The values of a "run/measure"; one that follows from others is computed.

    Raises
    ------
    LookupError
        If a run or its measure is not there: a grid without that cell, a network without that layer.
    """
    run, _, key = name.partition("/")
    measures = measured[run]
    if key in DERIVED and key not in measures:
        of, minus = DERIVED[key]
        return np.asarray(measures[of], dtype=float) - np.asarray(measures[minus], dtype=float)
    return np.asarray(measures[key], dtype=float)


def as_diverged(name: str, values: Values) -> Values:
    """The values, a replica that diverged counted as worse than all others; NaN where even that says nothing."""
    found = measure(name.rpartition("/")[2])
    return np.where(np.isnan(values), found.diverged if found else np.nan, values)


def quantity(comparison: Comparison, numbers: Mapping[str, Values]) -> Values:
    """The values of a comparison from those of its "run/measure", which broadcast."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if comparison.sum_of_signs:
            pairs = zip(comparison.of, comparison.minus or (), strict=True)
            return np.asarray(sum(np.sign(numbers[of] - numbers[minus]) for of, minus in pairs))
        values = numbers[str(comparison.of)]
        if comparison.minus:
            return values - numbers[str(comparison.minus)]
        return values / numbers[comparison.over] if comparison.over else values


def all_pairs(comparison: Comparison, numbers: Mapping[str, Values]) -> tuple[list[str], Values]:
    """The runs of a comparison, and its values for all combinations of one replica of each: an axis for each run."""
    runs = list(dict.fromkeys(name.partition("/")[0] for name in comparison.names))
    axes = {run: tuple(slice(None) if other == run else None for other in runs) for run in runs}
    return runs, quantity(comparison, {name: v[axes[name.partition("/")[0]]] for name, v in numbers.items()})


def cases(comparison: Comparison, values: Values, margin: float) -> tuple[Any, Any, Any]:
    """Where the comparison holds beyond the margin, where it is within, where it is on the other side; NaN is
    nowhere."""
    low = -np.inf if comparison.low is None else comparison.low
    high = np.inf if comparison.high is None else comparison.high
    with np.errstate(invalid="ignore"):
        within = np.abs(values) <= margin if margin else np.zeros(values.shape, dtype=bool)
        inside = ((values > low) | (low == -np.inf)) & ((values < high) | (high == np.inf)) & ~np.isnan(values)
    return inside & ~within, within, ~inside & ~within & ~np.isnan(values)


def own_numbers(findings: Sequence[Finding]) -> str:
    """Whether the study's own numbers lie where the claim says, as far as it prints them."""
    known = [part for part in findings if part.published is not None]
    if not known:
        return NOT_PRINTED
    holds = [bool(cases(part.comparison, np.array(part.published), 0)[0]) for part in known]
    return AGREE if all(holds) else DISAGREE


def _published(comparison: Comparison, published: Measured) -> float | None:
    try:
        return float(quantity(comparison, {name: number(published, name) for name in comparison.names}))
    except LookupError:
        return None
