"""Verdicts as tables, one row for each thing to say, and measures from tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nnlib.evidence.claims import DISAGREE, NOT_PRINTED, Measured, Verdict, Word
from nnlib.evidence.probability import probability_of_improvement, single_run_probability
from nnlib.evidence.statistics import Interval
from nnlib.evidence.study import Claim

# From which share of single-run studies on a wrong claim counts as the luck of a seed.
LIKELY = 0.1


def claim_table(
    verdicts: Sequence[Verdict], measured: Measured, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """A row for each claim.

    Columns: the claim, who asks, its verdict, how many parts it has and how they came out, p alone and corrected, the
    level that it was tested at, what the study's own numbers say; how often a study of one run each would report it,
    with its interval.
    """
    rows = []
    for verdict in verdicts:
        claim = verdict.claim
        single = single_run_probability(claim, measured, confidence=confidence, resamples=resamples, seed=seed)
        words = [part.verdict for part in verdict.findings]
        rows.append(
            {
                "claim": claim.id,
                "asked_by": claim.asked_by,
                "verdict": str(verdict.word),
                "parts": len(words),
                **{word.name.lower(): words.count(word) for word in Word if "PARTLY" not in word.name},
                "p": verdict.p,
                "corrected": verdict.corrected,
                "level": verdict.level,
                "own_numbers": verdict.own_numbers,
                **columns("single_run", single),
            }
        )
    return pd.DataFrame(rows)


def comparison_table(
    verdicts: Sequence[Verdict], measured: Measured, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """A row for each comparison of each claim.

    Columns: the claim, which of its comparisons, the margin; in how many of the replicas it held beyond the margin, lay
    within it, on the other side; the share with its interval; the median with its interval; P(A > B) of two single runs
    with its interval; p; the verdict; the published number and its percentile among ours.
    """
    rows = []
    for verdict in verdicts:
        for place, part in enumerate(verdict.findings):
            improvement = probability_of_improvement(
                part.comparison, measured, confidence=confidence, resamples=resamples, seed=seed
            )
            rows.append(
                {
                    "claim": verdict.claim.id,
                    "comparison": place,
                    "margin": part.margin,
                    **{name: getattr(part, name) for name in ("replicas", "held", "within", "against")},
                    **columns("share", part.share),
                    **columns("median", part.size),
                    **columns("ahead", improvement),
                    "p": part.p,
                    "verdict": str(part.verdict),
                    "published": part.published,
                    "percentile": part.percentile,
                }
            )
    return pd.DataFrame(rows)


def reasons(verdict: str, own_numbers: str, single_run: float, *, bug: bool, margin: bool) -> list[str]:
    """Why a claim that was not supported was made all the same, as far as it can be computed.

    Parameters
    ----------
    bug : with the true derivative of batch norm the verdict is another
    margin : without the margin it would be supported
    """
    if verdict in (Word.SUPPORTED, Word.NOT_TESTED):
        return []
    found = {
        "bug": bug,
        "own numbers": own_numbers == DISAGREE,
        "not printed": own_numbers == NOT_PRINTED,
        "seed": single_run >= LIKELY,
        "margin": margin,
    }
    return [reason for reason, holds in found.items() if holds]


def exact_counterpart(claim: Claim, counterparts: Mapping[str, str]) -> Claim | None:
    """The claim about the runs with batch norm's true derivative; None if it speaks of no run that has one."""
    if not any(name.partition("/")[0] in counterparts for name in claim.names):
        return None

    def renamed(name: Any) -> Any:
        if isinstance(name, list):
            return [renamed(entry) for entry in name]
        run, slash, measure = (name or "").partition("/")
        return counterparts.get(run, run) + slash + measure or None

    comparisons = [
        comparison.replace(**{part: renamed(getattr(comparison, part)) for part in ("of", "minus", "over")})
        for comparison in claim.comparisons
    ]
    return claim.replace(comparisons=comparisons)


def by_run(tables: Iterable[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """run → its rows of tables that have a column `run`."""
    return {str(run): rows.drop(columns="run").reset_index(drop=True) for run, rows in pd.concat(tables).groupby("run")}


def measures(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """run → measure → one value for each replica, from a table for each run with a row for each replica."""
    return {run: {str(name): table[name].to_numpy() for name in table} for run, table in tables.items()}


def columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
