"""Verdicts, fidelity and gains as tables, one row for each thing to say."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nnlib.evidence.claims import Measured, Verdict
from nnlib.evidence.statistics import mean_interval, percentile, share_interval


def verdict_table(verdicts: Sequence[Verdict], measured: Measured) -> pd.DataFrame:
    """A row for each comparison of each claim.

    Columns: the claim, its verdict and Holm-corrected p, what the study's own table says; then the comparison, its
    region, its mean with interval, the share of replicas in which it held, the published value with its percentile,
    and whether the verdict hangs on this comparison.
    """
    rows = []
    for verdict in verdicts:
        for effect in verdict.effects:
            comparison = effect.comparison
            values = comparison.values(measured)
            rows.append(
                {
                    "claim": verdict.claim.id,
                    "says": verdict.claim.says,
                    "verdict": verdict.verdict,
                    "p": verdict.p,
                    "own_table": verdict.by_own_table,
                    "comparison": str(comparison),
                    "low_bound": comparison.low,
                    "high_bound": comparison.high,
                    "mean": effect.interval.mean,
                    "low": effect.interval.low,
                    "high": effect.interval.high,
                    "held": effect.improved.mean,
                    "held_low": effect.improved.low,
                    "held_high": effect.improved.high,
                    "published": effect.published,
                    "percentile": np.nan if effect.published is None else percentile(effect.published, values),
                    "decisive": effect is verdict.decisive,
                    "figure": verdict.claim.figure,
                    "note": verdict.claim.note,
                }
            )
    return pd.DataFrame(rows)


def fidelity_table(
    published: Mapping[str, Mapping[str, float]], measured: Measured, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """A row for each published number that we have measured, too: our mean with interval, our range, and where the
    number falls in it."""
    rows = []
    for run, measures in published.items():
        if run not in measured:
            continue
        for measure, value in measures.items():
            if measure not in measured[run]:
                continue
            values = np.asarray(measured[run][measure], dtype=float)
            values = values[~np.isnan(values)]
            interval = mean_interval(values, confidence, resamples, seed)
            lowest, highest = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
            rows.append(
                {"run": run, "measure": measure, "published": value}
                | vars(interval)
                | {"lowest": lowest, "highest": highest, "percentile": percentile(value, values)}
                | {"inside": bool(lowest <= value <= highest)}
            )
    return pd.DataFrame(rows)


def epoch_gains(
    grid: pd.DataFrame, measured: Measured, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """What more epochs bring: for each batch size and L2 of the grid's runs, test accuracy at each number of epochs
    less that at the next smaller, replica by replica, with interval and the share of replicas that gained.

    `grid` has a row for each run: its name, `batch_size`, `L2` and `epochs`.
    """
    rows = []
    for (batch_size, l2), cells in grid.sort_values("epochs").groupby(["batch_size", "L2"]):
        for shorter, longer in itertools.pairwise(cells.to_dict("records")):
            gain = measured[longer["run"]]["test_accuracy"] - np.asarray(measured[shorter["run"]]["test_accuracy"])
            known = gain[~np.isnan(gain)]
            share = share_interval(int((known > 0).sum()), len(known), confidence)
            rows.append(
                {"batch_size": batch_size, "l2": l2, "from_epochs": shorter["epochs"], "to_epochs": longer["epochs"]}
                | vars(mean_interval(gain, confidence, resamples, seed))
                | {"gained": share.mean, "gained_low": share.low, "gained_high": share.high}
            )
    columns = [
        "batch_size",
        "l2",
        "from_epochs",
        "to_epochs",
        "mean",
        "low",
        "high",
        "gained",
        "gained_low",
        "gained_high",
    ]
    return pd.DataFrame(rows, columns=columns)


def best_runs(keys: Sequence[str], measured: Measured) -> dict[str, dict[str, Any]]:
    """The run with the best mean validation accuracy, which is how to choose, and the one that choosing on the test set
    itself, as the study did, would give; each with both its accuracies."""

    def mean(key: str, measure: str) -> float:
        values = np.asarray(measured[key][measure], dtype=float)
        return float(np.nanmean(values)) if np.isfinite(values).any() else -np.inf

    choice = {name: max(keys, key=lambda key: mean(key, f"{name}_accuracy")) for name in ("validation", "test")}
    return {
        name: {
            "run": key,
            "validation_accuracy": mean(key, "validation_accuracy"),
            "test_accuracy": mean(key, "test_accuracy"),
        }
        for name, key in choice.items()
    }
