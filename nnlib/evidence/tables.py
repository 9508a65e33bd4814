"""Verdicts as tables, one row for each thing to say, and measures from tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nnlib.evidence.claims import DISAGREE, NOT_PRINTED, Measured, Verdict, Word
from nnlib.evidence.probability import probability_of_improvement, single_run_probability
from nnlib.evidence.statistics import Interval
from nnlib.evidence.study import Claim

# From this probability in single-run studies on, the luck of the seed is given as a reason.
LIKELY = 0.1


def claim_table(
    verdicts: Sequence[Verdict], measured: Measured, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """A row for each claim.

    Columns: the claim, who asks, its verdict, how many parts it has and how they came out, the largest p-value of them
    alone and corrected over the claims, the level that they were tested at, what the study's own numbers say; how often
    a study of one run each would report the claim, with its interval.
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

    Columns: the claim, which of its comparisons (from 0), the margin; in how many of the replicas it held beyond the
    margin, lay within it, or on the other side; the share that held with its interval; the median with its interval;
    P(A > B) of two single runs with its interval; p; the verdict; the published number and its percentile among ours.
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
    """Why a claim that is not supported was made all the same, as far as it can be computed.

    Parameters
    ----------
    single_run : the share of single-run studies that would report it
    bug : whether it is supported for the runs with the true derivative of batch norm
    margin : whether it is supported without the margins

    Returns
    -------
    "bug", "own numbers" (they say otherwise), "not printed" (there are no numbers for it), "seed" (single runs often
    show it), "margin"; none for a claim that is supported or not tested
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


def about_other_runs(claim: Claim, instead: Mapping[str, str]) -> Claim:
    """The same claim about other runs: run → the one in its place; the claim itself where it speaks of none of them."""

    def renamed(name: str) -> str:
        run, _, measure = name.partition("/")
        return f"{instead.get(run, run)}/{measure}"

    def part(value: str | list[str] | None) -> Any:
        return [renamed(name) for name in value] if isinstance(value, list) else value and renamed(value)

    comparisons = [
        comparison.replace(of=part(comparison.of), minus=part(comparison.minus), over=part(comparison.over))
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
    """An interval as the columns of a table: the estimate under the name, its ends under name_low and name_high."""
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
