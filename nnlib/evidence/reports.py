"""Many reports of one assignment: what they say, what seeds alone would have them say, and what spreads them.

Each report has one vote. It compares up to four experiments by their test accuracy, one run each: without batch norm
and L2, with one of them, with both. Where its protocol could be followed its runs were trained from many seeds; a
"single-run study" is then one run of each, as the report itself. If all runs of the report start from one seed, so do
those of such a study; if not, each has a seed of its own.

Published reports are no random sample of those that were written, and runs inside one report are not independent of
each other: intervals on counts hold for reports like these, and only if the reports are independent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from nnlib.evidence.claims import Measured
from nnlib.evidence.fidelity import fidelity_table, implied_weights
from nnlib.evidence.mistakes import MISTAKES
from nnlib.evidence.probability import single_run_wins
from nnlib.evidence.statistics import Interval, Values, known, median_interval, share_interval
from nnlib.evidence.study import FOUR, QUESTIONS, Cells, Study
from nnlib.evidence.tables import columns

ACCURACY = "test_accuracy"
BETTER, WORSE, SAME = "better", "worse", "same"
WINNER = "winner"


@dataclass(frozen=True)
class Report:
    """A report, and what its runs came to when they were trained by its protocol; nothing where they were not."""

    study: Study
    measured: Measured

    @property
    def cells(self) -> list[Cells]:
        """Those that count: the first, or all, of which the best run counts."""
        return self.study.cells if self.study.vote == "best" else self.study.cells[:1]

    @cached_property
    def printed(self) -> dict[str, float]:
        """The printed test accuracy of each experiment that it has."""
        found: dict[str, float] = {}
        for cells in self.cells:
            for cell, accuracy in self.accuracies(cells).items():
                found[cell] = max(accuracy, found.get(cell, -np.inf))
        return found

    def accuracies(self, cells: Cells) -> dict[str, float]:
        """The printed test accuracy of each of these runs that has one."""
        published = {cell: self.study.published.get(run, {}) for cell, run in cells.names().items()}
        return {cell: numbers[ACCURACY] for cell, numbers in published.items() if ACCURACY in numbers}

    @cached_property
    def own(self) -> dict[str, Values]:
        """The test accuracies of each experiment's replicas; where the best run counts, the best of each seed."""
        runs: dict[str, list[str]] = {}
        for cells in self.cells:
            for cell, run in cells.names().items():
                runs.setdefault(cell, []).append(run if run in self.measured else self.study.same.get(run, run))
        return {
            cell: np.max([diverged_below(self.measured[run][ACCURACY]) for run in names], 0)
            for cell, names in runs.items()
            if all(run in self.measured for run in names)
        }

    def difference(self, question: str) -> float | None:
        """What it printed: the one experiment's test accuracy less the other's."""
        one, other = (self.printed.get(cell) for cell in QUESTIONS[question])
        return None if one is None or other is None else one - other

    def answer(self, question: str) -> str | None:
        """What its numbers say; of the winner, which of its experiments has the highest test accuracy."""
        if question == WINNER:
            return max(self.printed, key=self.printed.__getitem__) if set(FOUR) <= self.printed.keys() else None
        difference = self.difference(question)
        return None if difference is None else word(difference)

    def says(self, question: str) -> str | None:
        """What it says in words; None if nothing."""
        said: str | None = getattr(self.study.conclusions, question)
        return said

    def own_differences(self, question: str, cells: tuple[str, str] | None = None) -> Values:
        """The differences that single-run studies find, as many as there are seeds; none if its runs were not trained.

        Where seeds differ, replica k of one is paired with replica k − 1 of the other, so that they share no seed.
        """
        one, other = cells or QUESTIONS[question]
        if not {one, other} <= self.own.keys():
            return np.empty(0)
        first, second = self.own[one], self.own[other]
        return _less(first, second if self.study.one_seed else np.roll(second, 1))

    def probability(self, question: str, confidence: float, cells: tuple[str, str] | None = None) -> Interval:
        """P(better) + P(same) / 2 of a single-run study.

        Over all pairs of replicas, or, with one seed, over the seeds. The interval is that of a share of as many
        independent studies as there are seeds, which is wide enough for both.
        """
        one, other = cells or QUESTIONS[question]
        if not {one, other} <= self.own.keys():
            return Interval(np.nan, np.nan, np.nan)
        first, second = self.own[one], self.own[other]
        ahead = np.sign(np.nan_to_num(_less(first if self.study.one_seed else first[:, None], second)))
        return _around(float((ahead.mean() + 1) / 2), len(first), confidence)

    @cached_property
    def winners(self) -> dict[str, float]:
        """How often each of the four wins a single-run study; empty where they were not all trained."""
        if not set(FOUR) <= self.own.keys():
            return {}
        four = {cell: self.own[cell] for cell in FOUR}
        if not self.study.one_seed:
            return single_run_wins(four)
        best = np.argmax(list(four.values()), 0)
        return {cell: float(np.mean(best == place)) for place, cell in enumerate(four)}


def diverged_below(accuracies: Values) -> Values:
    """Those of the replicas that diverged are below all others."""
    return np.nan_to_num(np.asarray(accuracies, dtype=float), nan=-np.inf)


def _less(one: Values, other: Values) -> Values:
    """one − other; NaN where both diverged."""
    with np.errstate(invalid="ignore"):
        return one - other


def _around(share: float, trials: int, confidence: float) -> Interval:
    interval = share_interval(round(share * trials), trials, confidence)
    return Interval(share, min(share, interval.low), max(share, interval.high))


def word(difference: float) -> str:
    """What a difference of test accuracies says."""
    return BETTER if difference > 0 else WORSE if difference < 0 else SAME


def groups(report: Report, question: str) -> list[str]:
    """Where it is counted: among all, and among those whose code does the same."""
    acts = {True: "L2 acts", False: "L2 cannot act", None: "unknown"}[report.study.code.L2_acts]
    return ["all", acts if question == "l2_vs_none" else report.study.code.kind]


def report_tables(reports: Sequence[Report], reference: Report, *, confidence: float) -> dict[str, pd.DataFrame]:
    """Every table, by name.

    Parameters
    ----------
    reports : all; those that are doubtful stand in `reports` alone
    reference : the one of them by whose seeds the counts of all are predicted
    """
    counted = [report for report in reports if not report.study.doubtful]
    return {
        "reports": report_table(reports),
        "differences": difference_table(counted),
        "counted": counted_table(counted, reference, confidence=confidence),
        "placebo": placebo_table(counted),
        "noise": noise_table(counted, confidence=confidence),
        "spread": spread_table(counted),
        "mistakes": mistake_table(counted),
        "places": place_table([report for report in counted if report is not reference], confidence=confidence),
        "conclusions": conclusion_table(counted, confidence=confidence),
        "explosions": explosion_table(counted),
    }


def report_table(reports: Sequence[Report]) -> pd.DataFrame:
    """A row for each report: its derivative and what L2 leaves of a weight; the test accuracies that count, their
    differences, and the kind of code that each is counted with; and with how many seeds its runs were trained."""
    return pd.DataFrame(
        {
            "report": report.study.key,
            "derivative": report.study.code.derivative,
            "shrinkage": report.study.code.shrinkage,
            **{cell: report.printed.get(cell) for cell in FOUR},
            **{question: report.difference(question) for question in QUESTIONS},
            **{f"{question}_kind": groups(report, question)[1] for question in QUESTIONS},
            "replicas": max((len(values) for values in report.own.values()), default=0),
            "doubtful": bool(report.study.doubtful),
        }
        for report in reports
    )


def difference_table(reports: Sequence[Report]) -> pd.DataFrame:
    """Further differences of a report besides the one that counts: report, question, source, study, difference.

    From the source "again" they are printed, of the same experiments once more, which its vote leaves out; from the
    source "seed" they are those of single-run studies by its protocol in which no run diverged.
    """
    rows = []
    for report in reports:
        for question, (one, other) in QUESTIONS.items():
            printed = [report.accuracies(cells) for cells in report.study.cells if cells not in report.cells]
            again = [both[one] - both[other] for both in printed if {one, other} <= both.keys()]
            for source, differences in (("again", again), ("seed", report.own_differences(question))):
                rows += [
                    {
                        "report": report.study.key,
                        "question": question,
                        "source": source,
                        "study": place,
                        "difference": d,
                    }
                    for place, d in enumerate(differences)
                    if np.isfinite(d)
                ]
    return pd.DataFrame(rows, columns=["report", "question", "source", "study", "difference"])


def counted_table(reports: Sequence[Report], reference: Report, *, confidence: float) -> pd.DataFrame:
    """How many reports come to which answer, beside what seeds alone would give.

    Returns
    -------
    A row for each question, group of reports and answer.
    reports, count, share : how many have an answer, how many this one, with the exact interval of the share
    say : how many say this one in words
    expected, count_low, count_high : the probability of this answer if each report were a single-run study by the
        reference's protocol (one half where L2 cannot act); and between which counts `count` would then lie with the
        asked confidence, whichever value of the probability's interval is true
    own_reports, own_count, own_expected, own_low, own_high : of those trained by their own protocol, how many there
        are, how many came to this answer, and how many single-run studies of those protocols would
    """
    rows = []
    for question in (*QUESTIONS, WINNER):
        members: dict[str, list[Report]] = {}
        for report in reports:
            if report.answer(question):
                for group in ["all"] if question == WINNER else groups(report, question):
                    members.setdefault(group, []).append(report)
        for group, those in members.items():
            for answer in FOUR if question == WINNER else (BETTER, WORSE):
                came = [report.answer(question) == answer for report in those]
                own = [own_probability(report, question, answer, confidence) for report in those]
                trained = [(p, here) for p, here in zip(own, came, strict=True) if p is not None]
                low, high = poisson_binomial_range([p for p, _ in trained], confidence)
                rows.append(
                    {"question": question, "group": group, "answer": answer, "reports": len(those), "count": sum(came)}
                    | columns("share", share_interval(sum(came), len(those), confidence))
                    | {"say": sum(report.says(question) == answer for report in those)}
                    | _expected(reference, question, group, answer, len(those), confidence)
                    | {"own_reports": len(trained), "own_count": sum(here for _, here in trained)}
                    | {"own_expected": sum(p for p, _ in trained), "own_low": low, "own_high": high}
                )
    return pd.DataFrame(rows)


def own_probability(report: Report, question: str, answer: str, confidence: float) -> float | None:
    """How often a single-run study by the report's protocol comes to this answer; None if its runs were not trained.

    Two equal accuracies count half for better and half for worse.
    """
    if question == WINNER:
        return report.winners.get(answer)
    better = report.probability(question, confidence).estimate
    return None if np.isnan(better) else better if answer == BETTER else 1 - better


def _expected(
    reference: Report, question: str, group: str, answer: str, reports: int, confidence: float
) -> dict[str, float]:
    replicas = len(next(iter(reference.own.values()), ()))
    if group == "L2 cannot act":
        better = Interval(0.5, 0.5, 0.5)
    elif question == WINNER:
        share = reference.winners.get(answer, np.nan)
        better = Interval(share, np.nan, np.nan) if np.isnan(share) else _around(share, replicas, confidence)
    else:
        one, other = QUESTIONS[question]
        exact = group == "batch norm" and {"bn_exact", "bn_l2_exact"} <= reference.own.keys()
        better = reference.probability(question, confidence, (f"{one}_exact", other) if exact else (one, other))
        if answer == WORSE:
            better = Interval(1 - better.estimate, 1 - better.high, 1 - better.low)
    tail = (1 - confidence) / 2
    low, high = stats.binom.ppf([tail, 1 - tail], reports, [better.low, better.high])
    return columns("expected", better) | {"count_low": float(low), "count_high": float(high)}


def poisson_binomial_range(probabilities: Sequence[float], confidence: float) -> tuple[float, float]:
    """Between which counts the number of successes lies if each trial has its own probability; NaN without trials."""
    if not probabilities:
        return np.nan, np.nan
    mass = np.ones(1)
    for p in probabilities:
        mass = np.convolve(mass, [1 - p, p])
    tail = (1 - confidence) / 2
    # What the sums are short of 1 by rounding must not count.
    total = np.cumsum(mass) + 1e-12
    return float(np.argmax(total >= tail)), float(np.argmax(total >= 1 - tail))


def placebo_table(reports: Sequence[Report]) -> pd.DataFrame:
    """Printed differences between runs that differ in nothing but chance: report, kind, the two runs, difference.

    Of the kind "L2 cannot act" they are with and without an L2 that shrinks no weight by one percent, of the kind "same
    again" the same settings once more. Reports whose runs all start from one seed are left out, since there chance has
    only rounding to act by.
    """
    rows = []
    for report in reports:
        study = report.study
        if study.one_seed:
            continue
        pairs = [("same again", run, other) for run, other in study.same.items()]
        if study.code.L2_acts is False:
            for cells in study.cells:
                names = cells.names()
                pairs += [
                    ("L2 cannot act", names[one], names[other])
                    for one, other in (("l2", "none"), ("bn_l2", "bn"))
                    if one in names and other in names
                ]
        for kind, run, other in pairs:
            one, two = (study.published.get(name, {}).get(ACCURACY) for name in (run, other))
            if one is not None and two is not None:
                rows.append({"report": study.key, "kind": kind, "run": run, "minus": other, "difference": one - two})
    return pd.DataFrame(rows, columns=["report", "kind", "run", "minus", "difference"])


def noise_table(reports: Sequence[Report], *, confidence: float) -> pd.DataFrame:
    """How far two runs lie apart that differ in nothing but chance: of the placebos, and of our own seeds.

    The root of the mean square, with the interval that it has if differences are normal with mean 0, which they are not
    where a run now and then fails; and the median of the absolute differences, with its exact interval. Our own seeds
    are taken in pairs, no seed in two of them. The placebos of one report share its program, so that their intervals
    are somewhat too narrow.

    Returns
    -------
    A row for each kind of placebo, and one for each trained report and each of its experiments without L2.
    """
    placebo = placebo_table(reports)
    rows = [
        {"source": "printed", "of": kind} | _size(those["difference"], confidence)
        for kind, those in placebo.groupby("kind")
    ]
    for report in reports:
        for cell in ("none", "bn"):
            if cell in report.own:
                values = known(np.where(np.isinf(report.own[cell]), np.nan, report.own[cell]))
                even = len(values) // 2 * 2
                rows.append(
                    {"source": report.study.key, "of": cell} | _size(values[0:even:2] - values[1:even:2], confidence)
                )
    names = [name + end for name in ("root_mean_square", "median") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["source", "of", "pairs", *names])


def _size(differences: Any, confidence: float) -> dict[str, Any]:
    values = known(differences)
    squares, tail = float(np.sum(values**2)), (1 - confidence) / 2
    if not len(values):
        return {"pairs": 0}
    ends = np.sqrt(squares / stats.chi2.ppf([1 - tail, tail], len(values)))
    root = Interval(float(np.sqrt(squares / len(values))), *map(float, ends))
    return {
        "pairs": len(values),
        **columns("root_mean_square", root),
        **columns("median", median_interval(np.abs(values), confidence)),
    }


def spread_table(reports: Sequence[Report]) -> pd.DataFrame:
    """Of the variance of a difference between reports, how much is seeds, protocol, and code that does something else.

    A printed difference is taken as the sum of what its kind of code has in common, what its protocol adds, and what
    its seeds add, all random and independent (a nested random-effects model; S. Searle et al., *Variance Components*
    (1992), chapter 3). By the law of total variance their variances add up. Code against the rest is estimated by the
    one-way analysis of variance of the printed differences, by the method of moments for groups of unequal size. Seeds
    are the mean variance of single-run studies of those reports that were trained. Protocol is what is left, at least
    0.

    This assumes that seeds spread the other reports as much as those that were trained, though protocols differ in
    that by a factor of ten and more, and that published reports are a random sample, which they are not. Groups are
    small. How far one report decides is what `low` and `high` say: the smallest and the largest share when any one is
    left out.

    Returns
    -------
    A row for each question and source: question, source, reports, groups, trained, variance (of a fraction), deviation,
    share, low, high.
    """
    rows = []
    for question in ("bn_vs_none", "l2_vs_none"):
        having = [report for report in reports if report.difference(question) is not None]
        if len(having) < 3:
            continue
        own = {report.study.key: _finite_variance(report.own_differences(question)) for report in having}
        found = components(having, own, question)
        if found is None:
            continue
        others = [components(having[:k] + having[k + 1 :], own, question) for k in range(len(having))]
        total = sum(found.values())
        for source, variance in found.items():
            shares = [one[source] / sum(one.values()) for one in others if one and sum(one.values())]
            rows.append(
                {"question": question, "source": source, "reports": len(having)}
                | {"groups": len({groups(report, question)[1] for report in having})}
                | {"trained": sum(not np.isnan(own[report.study.key]) for report in having)}
                | {"variance": variance, "deviation": np.sqrt(variance), "share": variance / total if total else np.nan}
                | {"low": min(shares, default=np.nan), "high": max(shares, default=np.nan)}
            )
    names = ["question", "source", "reports", "groups", "trained", "variance", "deviation", "share", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def components(reports: Sequence[Report], own: Mapping[str, float], question: str) -> dict[str, float] | None:
    """The variances of seeds, protocol and code as `spread_table` has them; None where they cannot be told."""
    by_group: dict[str, list[float]] = {}
    for report in reports:
        by_group.setdefault(groups(report, question)[1], []).append(report.difference(question) or 0.0)
    variances = known([own[report.study.key] for report in reports])
    sizes = np.array([len(values) for values in by_group.values()])
    count, kinds = int(sizes.sum()), len(sizes)
    if not len(variances) or count <= kinds or kinds < 2:
        return None
    means = np.array([np.mean(values) for values in by_group.values()])
    within = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in by_group.values())
    within /= count - kinds
    between = float(np.sum(sizes * (means - np.sum(sizes * means) / count) ** 2)) / (kinds - 1)
    size = (count - float(np.sum(sizes**2)) / count) / (kinds - 1)
    seeds = float(np.mean(variances))
    return {"seeds": seeds, "protocol": max(0.0, within - seeds), "code": max(0.0, (between - within) / size)}


def _finite_variance(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(np.var(finite, ddof=1)) if len(finite) > 1 else np.nan


def mistake_table(reports: Sequence[Report]) -> pd.DataFrame:
    """A row for each kind of mistake that a report has, the most frequent first: mistake, reports, which.

    Of a code that was not read only what its numbers tell is known.
    """
    found = {
        name: [report.study.key for report in reports if name in {*report.study.code.mistakes, *report.study.mistakes}]
        for name in MISTAKES
    }
    rows = [{"mistake": name, "reports": len(keys), "which": " ".join(keys)} for name, keys in found.items() if keys]
    return pd.DataFrame(rows, columns=["mistake", "reports", "which"]).sort_values(
        "reports", ascending=False, kind="stable", ignore_index=True
    )


def place_table(reports: Sequence[Report], *, confidence: float) -> pd.DataFrame:
    """Where each printed number falls among those of the report's own seeds, as `fidelity_table` has it.

    Numbers that were measured otherwise than ours are left out.
    """
    parts = []
    for report in reports:
        study = report.study
        measured = dict(report.measured) | {
            run: report.measured[other] for run, other in study.same.items() if other in report.measured
        }
        published = {
            run: {name: value for name, value in numbers.items() if name not in study.measured_otherwise}
            for run, numbers in study.published.items()
        }
        table = fidelity_table(published, measured, confidence=confidence, chose_protocol=study.chose_protocol)
        if len(table):
            table.insert(0, "report", study.key)
            parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["report", "run", "measure"])


def conclusion_table(reports: Sequence[Report], *, confidence: float) -> pd.DataFrame:
    """What each report concludes, whether its own numbers deny it, and how often a single-run study comes to it.

    Returns
    -------
    A row for each report and question that it answers.
    says, numbers : in words, and what its test accuracies say; the conclusion is the first that there is
    denied : its numbers say otherwise than its words
    difference : the printed one
    replicas, probability : of single-run studies by its protocol that come to its conclusion, with its interval
    median : of their differences
    """
    rows: list[dict[str, Any]] = []
    for report, question in itertools.product(reports, (*QUESTIONS, WINNER)):
        says, numbers = report.says(question), report.answer(question)
        concluded = says or numbers
        if concluded is None:
            continue
        own = own_probability(report, question, concluded, confidence) if concluded != SAME else None
        replicas = max((len(values) for values in report.own.values()), default=0)
        share = Interval(np.nan, np.nan, np.nan) if own is None else _around(own, replicas, confidence)
        differences = np.empty(0) if question == WINNER else report.own_differences(question)
        rows.append(
            {"report": report.study.key, "question": question, "says": says, "numbers": numbers}
            | {"denied": bool(says and numbers and says != numbers)}
            | {"difference": None if question == WINNER else report.difference(question)}
            | {"replicas": 0 if own is None else replicas}
            | columns("probability", share)
            | {"median": float(np.median(differences)) if len(differences) else np.nan}
        )
    return pd.DataFrame(rows)


def explosion_table(reports: Iterable[Report]) -> pd.DataFrame:
    """Of each report that printed the two costs of an exploded run, their ratio, and what it must be if Σ W² rules
    both.

    A row for each: report, run, ratio, expected (the size of the validation set over that of a mini-batch), and the Σ
    W² and cross-entropy that the costs tell (`implied_weights`).
    """
    rows = []
    for report in reports:
        explosion = report.study.explosion
        if explosion:
            costs = report.study.published[explosion.run]
            train, validation = costs["train_cost"], costs["validation_cost"]
            squares, cross_entropy = implied_weights(
                train, validation, explosion.L2, explosion.m_train, explosion.m_validation
            )
            rows.append(
                {"report": report.study.key, "run": explosion.run, "ratio": train / validation}
                | {"expected": explosion.m_validation / explosion.m_train}
                | {"sum_squared_weights": squares, "cross_entropy": cross_entropy}
            )
    return pd.DataFrame(rows, columns=["report", "run", "ratio", "expected", "sum_squared_weights", "cross_entropy"])
