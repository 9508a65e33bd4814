"""A study judged: every table that follows from its claims, its numbers and what was measured of our runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import pandas as pd

from nnlib.evidence.claims import Measured, Verdict, Word, decide, number
from nnlib.evidence.fidelity import baseline_table, crossed_variance, explanation_table, fidelity_table
from nnlib.evidence.probability import probability_of_improvement, winner_shares
from nnlib.evidence.selection import best_runs, median
from nnlib.evidence.study import Claim, Comparison, Study
from nnlib.evidence.tables import about_other_runs, claim_table, columns, comparison_table, reasons

# Runs of each experiment of which the winner is found.
COUNTS = (1, 2, 3, 5, 10, 20, 30)
# Studies that are drawn for each count above 1; one run each is counted exactly.
DRAWS = 10_000
FAMILIES = ("study", "readers")


@dataclass(frozen=True)
class Rules:
    """How claims are judged.

    Attributes
    ----------
    confidence : of intervals, and 1 less the level of a family of claims
    margins : kind of measure → the difference that counts as none
    resamples, seed : of the bootstrap; the seed also of the winners of several runs
    """

    confidence: float
    margins: Mapping[str, float]
    resamples: int
    seed: int

    def verdicts(self, study: Study, measured: Measured) -> list[Verdict]:
        """The verdict on every claim, in their order. What the study claims is a family of tests, what readers ask
        another."""
        found: dict[str, Verdict] = {}
        for asked_by in FAMILIES:
            claims = [claim for claim in study.claims if claim.asked_by == asked_by]
            family = decide(claims, measured, study.published, margins=self.margins, confidence=self.confidence)
            found |= {verdict.claim.id: verdict for verdict in family}
        return [found[claim.id] for claim in study.claims]

    def resampling(self) -> dict[str, Any]:
        """The arguments of functions that resample."""
        return {"confidence": self.confidence, "resamples": self.resamples, "seed": self.seed}


def claims_and_comparisons(study: Study, measured: Measured, rules: Rules) -> dict[str, pd.DataFrame]:
    """The tables `claims` and `comparisons`; claims with the reasons why those that do not hold were made."""
    verdicts = rules.verdicts(study, measured)
    claims = claim_table(verdicts, measured, **rules.resampling())
    # The same claims, judged in the same families: about batch norm with its true derivative, and without margins.
    exact = rules.verdicts(study.replace(claims=_of_exact_batchnorm(study)), measured)
    without_margins = replace(rules, margins={}).verdicts(study, measured)
    claims["reasons"] = [
        "; ".join(
            reasons(
                verdict.word,
                verdict.own_numbers,
                single_run,
                bug=other.claim != verdict.claim and other.word is Word.SUPPORTED,
                margin=without.word is Word.SUPPORTED,
            )
        )
        if verdict.claim.asked_by == "study"
        else ""
        for verdict, single_run, other, without in zip(
            verdicts, claims["single_run"], exact, without_margins, strict=True
        )
    ]
    return {"claims": claims, "comparisons": comparison_table(verdicts, measured, **rules.resampling())}


def _of_exact_batchnorm(study: Study) -> list[Claim]:
    """The claims; each run whose batch norm lacks its derivative is replaced by the same run with it."""
    cells = study.four
    pairs = {cells.bn: cells.bn_exact, cells.bn_l2: cells.bn_l2_exact}
    instead = {run: exact for run, exact in pairs.items() if run and exact}
    return [about_other_runs(claim, instead) for claim in study.claims]


def fidelity(
    study: Study, measured: Measured, changed: Mapping[str, Measured], rules: Rules
) -> dict[str, pd.DataFrame]:
    """The tables `fidelity`, `baseline` and `explanations`; `changed` has, for each change of the
    protocol, by its name, the measures of the runs trained with it."""
    return {
        "fidelity": fidelity_table(
            study.published, measured, confidence=rules.confidence, chose_protocol=study.chose_protocol
        ),
        "baseline": baseline_table(study.published, measured, study.chose_protocol),
        "explanations": explanation_table(study.explanations, study.published, measured, changed),
    }


def other_sets_and_splits(
    study: Study, measured: Measured, splits: Mapping[str, Measured], rules: Rules
) -> dict[str, pd.DataFrame]:
    """The tables `official` and `splits`.

    `official` has the verdict on each claim, beside it that on MNIST's official test set. `splits` has no verdicts,
    since the replicas on other splits of the images are few: for each comparison of the runs that were trained on a
    split, it has in how many replicas it held, lay within the margin or on the other side, and the median.
    """
    official = {run: _renamed(numbers, "official_accuracy", "test_accuracy") for run, numbers in measured.items()}
    words = {verdict.claim.id: verdict.word for verdict in rules.verdicts(study, measured)}
    rows = [
        {"claim": verdict.claim.id, "verdict": str(words[verdict.claim.id]), "official": str(verdict.word)}
        for verdict in rules.verdicts(study, official)
    ]
    of_splits = []
    for split, there in splits.items():
        for verdict in rules.verdicts(study, there):
            for place, part in enumerate(verdict.findings):
                if part.replicas:
                    of_splits.append(
                        {"split": split, "claim": verdict.claim.id, "comparison": place, "replicas": part.replicas}
                        | {"held": part.held, "within": part.within, "against": part.against}
                        | {"median": part.size.estimate}
                    )
    names = ["split", "claim", "comparison", "replicas", "held", "within", "against", "median"]
    return {"official": pd.DataFrame(rows), "splits": pd.DataFrame(of_splits, columns=names)}


def _renamed(numbers: Mapping[str, Any], instead: str, name: str) -> dict[str, Any]:
    return dict(numbers) | ({name: numbers[instead]} if instead in numbers else {})


def crossed_table(crossed: Measured) -> pd.DataFrame:
    """Of each run's test accuracies, which share of their variance comes from the initial weights, which from the
    shuffles.

    `crossed` has as many initial weights as shuffles, one replica of each combination, those with the same initial
    weights next to each other. A run without two of each is left out.
    """
    rows = []
    for run in crossed:
        values = number(crossed, f"{run}/test_accuracy")
        side = isqrt(len(values))
        if side > 1:
            rows.append({"run": run} | crossed_variance(values.reshape(side, side)))
    return pd.DataFrame(rows, columns=["run", "weights", "shuffle", "interaction", "deviation"])


def winner_table(study: Study, measured: Measured, rules: Rules) -> pd.DataFrame:
    """How often a study of n runs each names each of its four experiments the winner, by test accuracy."""
    runs = {run: number(measured, f"{run}/test_accuracy") for run in study.experiments if run in measured}
    if len(runs) < 2:
        return pd.DataFrame(columns=["runs", *runs])
    shares = winner_shares(runs, COUNTS, draws=DRAWS, seed=rules.seed)
    return pd.DataFrame([{"runs": count} | share for count, share in shares.items()])


def beats_table(study: Study, measured: Measured, rules: Rules) -> pd.DataFrame:
    """P(row beats column) for one run of each of the four experiments, by test accuracy, with its interval."""
    runs = [run for run in study.experiments if run in measured]
    rows = []
    for run, other in itertools.permutations(runs, 2):
        comparison = Comparison(of=f"{run}/test_accuracy", minus=f"{other}/test_accuracy", low=0.0)
        ahead = probability_of_improvement(comparison, measured, **rules.resampling())
        rows.append({"run": run, "other": other} | columns("ahead", ahead))
    return pd.DataFrame(rows, columns=["run", "other", "ahead", "ahead_low", "ahead_high"])


def said(verdicts: Sequence[str]) -> str:
    """Counts of verdicts in words, in their order."""
    return ", ".join(f"{verdicts.count(word)} {word}" for word in Word if word in verdicts)


def summary(study: Study, measured: Measured, grid: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """The summary of a study: the median test accuracy, in percent, of each run and of the grid's run that is best on
    the validation set, and how many of the study's claims have which verdict. A median is None where half of the
    replicas or more diverged.

    Parameters
    ----------
    grid : the grid's runs
    words : the verdict on each claim that the study makes
    """
    accuracies = {run: median(measured[run]["test_accuracy"]) for run in study.runs if run in measured}
    accuracies["best"] = best_runs(grid, measured)["validation"]["test_accuracy"]
    percent = {run: round(100 * accuracy, 2) if accuracy >= 0 else None for run, accuracy in accuracies.items()}
    return percent | {str(word): list(words).count(word) for word in Word}
