"""From claims to verdicts: each claim is one comparison or several, each decided by the seeds on its side.

Replica k starts from the same weights and sees the same shuffles in every configuration, so that comparisons are made
seed by seed. In each seed a comparison holds, or what it compares lies within a margin of 0, or it lies on the other
side. An exact sign test decides whether it holds in more than half of all seeds, or in fewer. Where it holds in fewer,
a second one decides whether one of the other two cases has more than half.

The claim is the unit that is corrected for, by Holm's method. It is decided as a whole if the largest p-value of its
parts reaches the claim's level: an intersection-union test (R. Berger, *Multiparameter Hypothesis Testing and
Acceptance Sampling*, 1982). A claim that is not decided as a whole keeps its level, and at this level some of its parts
may be decided, corrected inside the claim by Hochberg's method. Holm's method passes a claim's level on to others only
when all of its parts are decided.

The first test can err on both sides and has two thirds of the level; the second can err on one only and has one third.
Its p-value is two-sided, twice as large, and is therefore compared with two thirds. The probability of any wrong word
in a family of claims is then at most 1 − confidence.
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
    hochberg,
    holm,
    holm_levels,
    known,
    median_interval,
    percentile,
    share_interval,
    sign_p,
)
from nnlib.evidence.study import DERIVED, FIRST_TEST_SHARE, Claim, Comparison, measure

# run → measure → one value for each replica, or the one that was published.
Measured = Mapping[str, Mapping[str, Any]]
# Values that agree to so many decimals count as equal: tables have eight digits.
DECIMALS = 7


class Word(StrEnum):
    """A verdict."""

    SUPPORTED = "supported"
    PARTLY_SUPPORTED = "partly supported"
    EQUIVALENT = "equivalent"
    NOT_SUPPORTED = "not supported"
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
    p : of the sign test of `held`, for both sides; NaN if it is not tested
    verdict : of this comparison
    published, percentile : the quantity from the published numbers, and where it falls among those of all pairs of
        replicas, since the published runs had seeds of their own
    """

    comparison: Comparison
    margin: float
    replicas: int = 0
    held: int = 0
    within: int = 0
    against: int = 0
    share: Interval = UNKNOWN
    size: Interval = UNKNOWN
    p: float = np.nan
    verdict: Word = Word.NOT_TESTED
    published: float | None = None
    percentile: float = np.nan


@dataclass(frozen=True)
class Verdict:
    """A claim, the word on it, the findings that it comes from, and what the study's own numbers say.

    Attributes
    ----------
    p, corrected : the largest p-value of its parts, alone and corrected for how many claims there are
    level : at which its parts were tested
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
    claims : corrected together; claims of other families, and those that are not tested, do not count
    measured : of the replicas; all runs have as many, and replica k of each has the same seed
    published : the study's own numbers
    margins : kind of measure, as in `Comparison.kind` → the difference that counts as none
    confidence : 1 less the probability of any wrong word in the family
    """
    findings = [
        [finding(comparison, measured, published, margins, confidence) for comparison in claim.comparisons]
        for claim in claims
    ]
    p = [max(known([part.p for part in parts]), default=np.nan) for parts in findings]
    levels = holm_levels(p, FIRST_TEST_SHARE * (1 - confidence))
    verdicts = []
    for claim, parts, own, corrected, level in zip(claims, findings, p, holm(p), levels, strict=True):
        words = part_words(parts, level)
        decided = tuple(replace(part, verdict=word) for part, word in zip(parts, words, strict=True))
        word = claim_word(words, every=claim.every)
        verdicts.append(Verdict(claim, word, decided, own_numbers(decided), *map(float, (own, corrected, level))))
    return verdicts


def part_words(parts: Sequence[Finding], level: float) -> list[Word]:
    """The verdict on each part of a claim that is tested at a level."""
    holds = hochberg([part.p for part in parts])
    instead = hochberg([_majority_p(max(part.within, part.against), part.replicas) for part in parts])
    return [_part_word(part, p <= level, q <= level) for part, p, q in zip(parts, holds, instead, strict=True)]


def _part_word(part: Finding, decided: bool, instead: bool) -> Word:
    if not part.replicas:
        return Word.NOT_TESTED
    if not decided:
        return Word.UNDECIDED
    if 2 * part.held > part.replicas:
        return Word.SUPPORTED
    if not instead:
        return Word.NOT_SUPPORTED
    return Word.EQUIVALENT if part.within > part.against else Word.CONTRADICTED


def _majority_p(seeds: int, replicas: int) -> float:
    """The p-value of so many seeds being more than half; 1 if they are not."""
    return sign_p(seeds, replicas) if 2 * seeds > replicas or not replicas else 1.0


def claim_word(parts: Sequence[Word], *, every: bool) -> Word:
    """The word on a claim from the words on its parts.

    If all parts have the same word, that one. Else a claim about every case is contradicted by one contradicted part.
    Any other with supported or contradicted parts is partly supported, or partly contradicted if more parts are
    contradicted. With neither it is not supported if every part is equivalent or not supported, and undecided if not.
    """
    if len(set(parts)) == 1:
        return parts[0]
    supported, contradicted = parts.count(Word.SUPPORTED), parts.count(Word.CONTRADICTED)
    if every and contradicted:
        return Word.CONTRADICTED
    if not supported and not contradicted:
        return Word.NOT_SUPPORTED if {*parts} <= {Word.EQUIVALENT, Word.NOT_SUPPORTED} else Word.UNDECIDED
    return Word.PARTLY_SUPPORTED if supported >= contradicted else Word.PARTLY_CONTRADICTED


def finding(
    comparison: Comparison, measured: Measured, published: Measured, margins: Mapping[str, float], confidence: float
) -> Finding:
    """What can be said of one comparison without the others. It is not tested if a run is not there, or all its
    replicas diverged."""
    margin = margins.get(comparison.kind, 0.0)
    theirs = _published(comparison, published)
    try:
        numbers = counted_numbers(comparison, measured)
    except LookupError:
        return Finding(comparison, margin, published=theirs)
    values = quantity(comparison, numbers)
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
        percentile=np.nan if theirs is None else _percentile(theirs, all_pairs(comparison, numbers)[1]),
    )


def _percentile(published: float, values: Values) -> float:
    return percentile(np.round(published, DECIMALS), np.round(values, DECIMALS).ravel())


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


def counted_numbers(comparison: Comparison, measured: Measured) -> dict[str, Values]:
    """The values of each "run/measure" of a comparison; a replica that diverged counts as worse than all others, and as
    NaN where even that says nothing.

    Raises
    ------
    LookupError
        If a run or a measure is not there, or all replicas of one diverged.
    """
    numbers = {}
    for name in comparison.names:
        values = number(measured, name)
        if np.isnan(values).all():
            raise LookupError(f"{name}: all replicas diverged")
        found = measure(name.rpartition("/")[2])
        numbers[name] = np.where(np.isnan(values), found.diverged if found else np.nan, values)
    return numbers


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
    """Which values hold beyond the margin, which lie within it, which on the other side; NaN does none of these."""
    values = np.round(values, DECIMALS)
    inside = ~np.isnan(values)
    if comparison.low is not None:
        inside &= values > comparison.low
    if comparison.high is not None:
        inside &= values < comparison.high
    within = np.abs(values) <= margin if margin else np.zeros(values.shape, dtype=bool)
    return inside & ~within, within, ~inside & ~within & ~np.isnan(values)


def own_numbers(findings: Sequence[Finding]) -> str:
    """Whether the study's own numbers lie where the claim says, as far as it prints them."""
    printed = [part for part in findings if part.published is not None]
    if not printed:
        return NOT_PRINTED
    holds = [bool(cases(part.comparison, np.array(part.published), 0)[0]) for part in printed]
    return AGREE if all(holds) else DISAGREE


def _published(comparison: Comparison, published: Measured) -> float | None:
    try:
        return float(quantity(comparison, {name: number(published, name) for name in comparison.names}))
    except LookupError:
        return None
