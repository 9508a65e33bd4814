"""From claims to verdicts: each claim is one comparison or several, each decided by the seeds in which it held.

A comparison is a quantity, one number for each replica, and the region in which the claim says that it lies. Replicas
are paired: replica k starts from the same weights and the same order in every configuration. The null hypothesis of a
comparison is that it holds in half of all seeds; the exact sign test of the share in which it held decides, corrected
over all comparisons of all claims by Holm's method. Where a comparison has a margin, a second test asks whether the
quantity lies within the margin in more than half of all seeds; then the two sides are equivalent, whichever is ahead.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

import numpy as np

from nnlib.arguments import a, number, one_of, optional, text, truth, what
from nnlib.errors import InputError
from nnlib.evidence.statistics import (
    UNKNOWN,
    Interval,
    Values,
    holm,
    median_interval,
    percentile,
    share_interval,
    sign_p,
    trials_needed,
)

# Measured: run → measure → one value for each replica.
Measured = Mapping[str, Mapping[str, Sequence[float] | Values]]
Published = Mapping[str, Mapping[str, float]]

SUPPORTED, CONTRADICTED, EQUIVALENT = "supported", "contradicted", "equivalent"
PARTLY, UNDECIDED, NOT_TESTED = "partly supported", "undecided", "not tested"
# Of a claim; of a comparison all but "partly supported".
VERDICTS = (SUPPORTED, PARTLY, CONTRADICTED, EQUIVALENT, UNDECIDED, NOT_TESTED)
FOR, AGAINST, NO_SIGNAL = "leans for", "leans against", "no signal"
SILENT = "silent"
ASKED_BY = ("study", "readers")

# A replica that diverged has no number; it counts as worse than every one that did not.
ACCURACIES = ("train_accuracy", "validation_accuracy", "test_accuracy", "official_accuracy")
COSTS = (
    "train_cost",
    "validation_cost",
    "mean_validation_cost",
    "early_steps_validation_cost",
    "early_epochs_validation_cost",
    "roughness",
)
WEIGHTS = ("sum_squared_weights", "log10_sum_squared_weights")
DIVERGED = dict.fromkeys(ACCURACIES, -math.inf) | dict.fromkeys(COSTS + WEIGHTS, math.inf)

# As many combinations of single runs are counted; of more, some are drawn.
MOST_COMBINATIONS = 10**7


# What the attributes may be, as far as their type goes.
COMPARISON = {
    "of": text,
    "minus": optional(text),
    "over": optional(text),
    "low": number,
    "high": number,
    "margin": optional(number),
    "balanced": truth,
}
CLAIM = {
    "id": text,
    "says": text,
    "figure": text,
    "note": a(str),
    "asked_by": one_of(dict.fromkeys(ASKED_BY)),
    "every": truth,
}


@dataclass(frozen=True)
class Comparison:
    """A quantity and the region where the claim places it.

    Attributes
    ----------
    of : "run/measure", the number itself
    minus, over : a second "run/measure" to subtract or to divide by; at most one of them
    low, high : the region, without its ends; infinite where the claim sets no bound
    margin : within so much of the region's one bound the two sides count as equivalent; None if any difference matters
    balanced : the claim is that the quantity lies on either side of the bound alike, so that deciding for one side
        contradicts it, and nothing supports it; what lies on the bound is counted half to each side
    """

    of: str
    minus: str | None = None
    over: str | None = None
    low: float = -math.inf
    high: float = math.inf
    margin: float | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        _check(self, COMPARISON)
        if self.minus and self.over:
            raise InputError(f"comparison of {self.of}: expected minus or over, got both")
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise InputError(
                f"comparison of {self.of}: expected low < high, one of them finite, got {self.low}, {self.high}"
            )
        if self.margin is not None and (not self.margin > 0 or not self.one_sided):
            raise InputError(
                f"comparison of {self.of}: expected a margin above 0 around a single bound, got {self.margin}"
            )
        if self.balanced and (self.margin or not self.one_sided):
            raise InputError(f"comparison of {self.of}: expected balanced around a single bound without a margin")

    @property
    def one_sided(self) -> bool:
        return math.isinf(self.low) or math.isinf(self.high)

    @property
    def bound(self) -> float:
        """The one bound of a region that has one."""
        return self.high if math.isinf(self.low) else self.low

    @property
    def names(self) -> list[str]:
        """Every "run/measure" that it speaks of."""
        return [name for name in (self.of, self.minus, self.over) if name]

    def quantity(self, measured: Measured) -> Values:
        """The values replica by replica; a replica that diverged as `DIVERGED` says, NaN where even that says nothing.

        Raises
        ------
        LookupError
            If a run or its measure is not there: a grid without that cell, a network without that layer.
        """
        return self._of(*[_values(measured, name) for name in self.names])

    def unpaired(self, measured: Measured) -> Values:
        """The values of every pair of replicas, for numbers from runs of their own."""
        values = [_values(measured, name) for name in self.names]
        if len({_run(name) for name in self.names}) == 2:
            values = [values[0][:, None], values[1][None]]
        return self._of(*values).ravel()

    def _of(self, one: Values, other: Values | None = None) -> Values:
        if other is None:
            return one
        with np.errstate(invalid="ignore"):
            return one - other if self.minus else one / other

    def holds(self, values: Values) -> np.ndarray[Any, Any]:
        """Where the values lie in the region; infinities may, NaN does not."""
        return (
            ((values > self.low) | (self.low == -math.inf))
            & ((values < self.high) | (self.high == math.inf))
            & (~np.isnan(values))
        )

    def __str__(self) -> str:
        sign, other = ("−", self.minus) if self.minus else ("/", self.over)
        return f"{self.of} {sign} {other}" if other else self.of


@dataclass(frozen=True)
class Claim:
    """What is claimed.

    Attributes
    ----------
    id, says : its key, and the claim in a sentence
    comparisons : its parts
    figure : that shows the evidence
    note : how its words were read, and why the margins are what they are
    asked_by : "study", or "readers" for what its readers would ask
    every : the claim is of every case ("the best of all"): one part that is contradicted refutes it
    """

    id: str
    says: str
    comparisons: tuple[Comparison, ...]
    figure: str
    note: str = ""
    asked_by: str = "study"
    every: bool = False

    def __post_init__(self) -> None:
        _check(self, CLAIM)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Claim:
        """A claim from its YAML record.

        Raises
        ------
        ValueError
            If the record has an unknown key, lacks one, or has a value that makes no sense, with the claim's id.
        """
        try:
            parts = record.get("comparisons")
            if not isinstance(parts, list) or not parts:
                raise InputError(f"comparisons: expected one or more, got {what(parts)}")
            for one in parts:
                _fits(one, Comparison)
            _fits(record, cls)
            return cls(**{**record, "comparisons": tuple(Comparison(**one) for one in parts)})
        except InputError as error:
            raise InputError(f"claim {record.get('id', '?')}: {error}") from None

    @property
    def names(self) -> list[str]:
        """Every "run/measure" that the claim speaks of."""
        return [name for one in self.comparisons for name in one.names]


@dataclass(frozen=True)
class Finding:
    """What the replicas say of one comparison.

    Attributes
    ----------
    replicas, held, within : how many there are, in how many it held, how many lay within the margin
    share : held / replicas, with its interval
    size : the median of the quantity, with its interval
    p, corrected : of the sign test that decides, alone and among all
    verdict : of this comparison; an undecided one leans, and needs so many replicas
    published, percentile : the study's own number, and where it falls among ours
    """

    comparison: Comparison
    replicas: int = 0
    held: int = 0
    within: int = 0
    share: Interval = UNKNOWN
    size: Interval = UNKNOWN
    p: float = 1.0
    corrected: float = 1.0
    verdict: str = NOT_TESTED
    leaning: str = ""
    needed: int | None = None
    published: float | None = None
    percentile: float = math.nan


@dataclass(frozen=True)
class Verdict:
    """A claim, the word on it, the findings that it comes from, and what the study's own numbers say by its regions."""

    claim: Claim
    verdict: str
    findings: tuple[Finding, ...] = field(default=())
    own_table: str = SILENT

    @property
    def parts(self) -> str:
        """How many of its comparisons came out how."""
        return said(Counter(finding.verdict for finding in self.findings))


def decide(claims: Sequence[Claim], measured: Measured, published: Published, *, confidence: float) -> list[Verdict]:
    """The verdict on every claim.

    A comparison is supported or contradicted if the sign test of the share of seeds in which it held says so at level
    1 − confidence, and equivalent if that of the share within its margin does. A comparison is not tested if a run is
    not there, or has no number in any replica. `claim_verdict` makes a claim's verdict of its parts'.
    """
    found = [
        _finding(comparison, measured, published, confidence) for claim in claims for comparison in claim.comparisons
    ]
    tests = [
        (place, kind, sign_p(count, finding.replicas))
        for place, finding in enumerate(found)
        for kind, count in (("held", finding.held), ("within", finding.within))
        if finding.replicas and (kind == "held" or finding.comparison.margin)
    ]
    level = 1 - confidence
    corrected = {test[:2]: float(p) for test, p in zip(tests, holm([p for *_, p in tests]), strict=True)}
    # The level at which Holm's method tests the first that it does not decide.
    left = level / max(1, sum(p > level for p in corrected.values()))
    decided = iter([_decided(finding, place, corrected, level, left) for place, finding in enumerate(found)])
    verdicts = []
    for claim in claims:
        findings = tuple(next(decided) for _ in claim.comparisons)
        word = claim_verdict([finding.verdict for finding in findings], every=claim.every)
        verdicts.append(Verdict(claim, word, findings, _own_table(findings)))
    return verdicts


def claim_verdict(parts: Sequence[str], *, every: bool = False) -> str:
    """The word on a claim from the words on its parts.

    It is supported if all parts are; partly, if some are. A claim of every case is refuted by a single one. Where no
    part is supported, one that is contradicted contradicts the claim, and it is equivalent if all parts are.
    """
    tested = [part for part in parts if part != NOT_TESTED]
    if not tested:
        return NOT_TESTED
    if every and CONTRADICTED in tested:
        return CONTRADICTED
    if SUPPORTED in tested:
        return SUPPORTED if all(part == SUPPORTED for part in parts) else PARTLY
    if CONTRADICTED in tested:
        return CONTRADICTED
    return EQUIVALENT if all(part == EQUIVALENT for part in parts) else UNDECIDED


def count_tests(claims: Sequence[Claim], names: Set[str] | None = None) -> int:
    """How many tests the claims ask for, if all that they compare is there, or only these "run/measure"."""
    comparisons = [one for claim in claims for one in claim.comparisons if names is None or set(one.names) <= names]
    return sum(1 + bool(comparison.margin) for comparison in comparisons)


def one_run_share(claim: Claim, measured: Measured, *, draws: int, seed: int) -> tuple[float, int]:
    """How often a study of one run each, with seeds of their own, would have come to the claim.

    Parameters
    ----------
    draws : of the runs' replicas, where there are more than `MOST_COMBINATIONS` to count
    seed : of the draws

    Returns
    -------
    share : in which all comparisons hold that one run can show (none that are balanced); NaN if a run is not there
    count : of combinations or draws
    """
    comparisons = [one for one in claim.comparisons if not one.balanced]
    runs = sorted({_run(name) for one in comparisons for name in one.names})
    try:
        values = {name: _values(measured, name) for one in comparisons for name in one.names}
    except LookupError:
        return math.nan, 0
    replicas = [len(next(values[name] for name in values if _run(name) == run)) for run in runs]
    if not runs or not all(replicas):
        return math.nan, 0
    if math.prod(replicas) <= MOST_COMBINATIONS:
        chosen = dict(zip(runs, np.ix_(*map(np.arange, replicas)), strict=True))
        shape: tuple[int, ...] = tuple(replicas)
    else:
        random = np.random.default_rng(seed)
        chosen = {run: random.integers(0, count, draws) for run, count in zip(runs, replicas, strict=True)}
        shape = (draws,)
    published = np.ones(shape, dtype=bool)
    for one in comparisons:
        published &= one.holds(one._of(*[values[name][chosen[_run(name)]] for name in one.names]))
    return float(published.mean()), published.size


def said(counts: Mapping[str, int]) -> str:
    """Counts of verdicts in words, in their order."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts.get(verdict))


def _finding(comparison: Comparison, measured: Measured, published: Published, confidence: float) -> Finding:
    """What can be said of one comparison without the others."""
    theirs = _published(comparison, published)
    try:
        numbers = [_raw(measured, name) for name in comparison.names]
        values, unpaired = comparison.quantity(measured), comparison.unpaired(measured)
    except LookupError:
        return Finding(comparison, published=theirs)
    if not all((~np.isnan(one)).any() for one in numbers):
        return Finding(comparison, published=theirs)
    held = int(comparison.holds(values).sum())
    if comparison.balanced:
        held += int((values == comparison.bound).sum()) // 2
    within = int((np.abs(values - comparison.bound) < comparison.margin).sum()) if comparison.margin else 0
    return Finding(
        comparison,
        len(values),
        held,
        within,
        share_interval(held, len(values), confidence),
        median_interval(values, confidence),
        published=theirs,
        percentile=math.nan if theirs is None else percentile(theirs, unpaired),
    )


def _decided(
    finding: Finding, place: int, corrected: Mapping[tuple[int, str], float], level: float, left: float
) -> Finding:
    """The finding with its verdict, from the corrected p-values of its tests."""
    if not finding.replicas:
        return finding
    near = corrected.get((place, "within"))
    if near is not None and near <= level and 2 * finding.within > finding.replicas:
        return replace(finding, p=sign_p(finding.within, finding.replicas), corrected=near, verdict=EQUIVALENT)
    p, p_corrected = sign_p(finding.held, finding.replicas), corrected[place, "held"]
    finding = replace(finding, p=p, corrected=p_corrected)
    if p_corrected > level:
        needed = trials_needed(finding.held / finding.replicas, left)
        return replace(finding, verdict=UNDECIDED, leaning=_leaning(finding, level), needed=needed)
    held = 2 * finding.held > finding.replicas and not finding.comparison.balanced
    return replace(finding, verdict=SUPPORTED if held else CONTRADICTED)


def _leaning(finding: Finding, level: float) -> str:
    """What an undecided comparison would say if it were the only one."""
    if finding.p > level:
        return NO_SIGNAL
    return AGAINST if finding.comparison.balanced or 2 * finding.held < finding.replicas else FOR


def _published(comparison: Comparison, published: Published) -> float | None:
    try:
        one = {run: {name: [value] for name, value in measures.items()} for run, measures in published.items()}
        return comparison.quantity(one).item()
    except LookupError:
        return None


def _own_table(findings: Sequence[Finding]) -> str:
    """What the study's own numbers say of the claim, by the same regions, as far as it prints them."""
    known = [f for f in findings if f.published is not None and not f.comparison.balanced]
    if not known:
        return SILENT
    held = [bool(finding.comparison.holds(np.array(finding.published))) for finding in known]
    return SUPPORTED if all(held) else CONTRADICTED


def _fits(record: Any, kind: Any) -> None:
    """That a record has the fields of a dataclass, and no others."""
    if not isinstance(record, Mapping):
        raise InputError(f"expected {', '.join(one.name for one in fields(kind))}, got {what(record)}")
    known = {one.name: one.default is MISSING for one in fields(kind)}
    for name in [*record, *known]:
        if name not in known:
            raise InputError(f"{name!r}: no such entry; expected some of {', '.join(known)}")
        if known[name] and name not in record:
            raise InputError(f"{name}: expected a value, it is missing")


def _check(record: object, checks: Mapping[str, Callable[[str, Any], Any]]) -> None:
    for name, check in checks.items():
        object.__setattr__(record, name, check(name, getattr(record, name)))


def _run(name: str) -> str:
    return name.partition("/")[0]


def _raw(measured: Measured, name: str) -> Values:
    run, _, measure = name.partition("/")
    if run not in measured:
        raise LookupError(f"{name}: there is no run {run!r}")
    if measure not in measured[run]:
        raise LookupError(f"{name}: run {run!r} has no measure {measure!r}")
    return np.asarray(measured[run][measure], dtype=float)


def _values(measured: Measured, name: str) -> Values:
    values = _raw(measured, name)
    return np.where(np.isnan(values), DIVERGED.get(name.partition("/")[2], math.nan), values)
