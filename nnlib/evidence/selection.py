"""Which runs failed, which is the best, and what more epochs bring."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nnlib.evidence.claims import Measured
from nnlib.evidence.statistics import known, median_interval, share_interval
from nnlib.evidence.tables import columns

FAILURES = UNDERTRAINED, COLLAPSED, DIVERGED = "undertrained", "collapsed", "diverged"


def failures(runs: pd.DataFrame, measured: Measured, threshold: float) -> pd.DataFrame:
    """The kind of failure of each replica whose test accuracy is below a threshold.

    It is undertrained if the run has a longer one of the same settings in which the same replica passes the threshold,
    collapsed if not, diverged if it has no accuracy. `runs` has a row for each run, its name and its settings.

    Returns
    -------
    A row for each run, a column for each replica; empty for one that passes.
    """
    settings = [name for name in runs.columns if name not in ("run", "epochs")]
    rows = {}
    for _, alike in runs.groupby(settings, dropna=False):
        passes_later: Any = False
        for run in alike.sort_values("epochs", ascending=False)["run"]:
            accuracy = np.asarray(measured[run]["test_accuracy"], dtype=float)
            low = np.where(passes_later, UNDERTRAINED, COLLAPSED)
            rows[run] = np.select([np.isnan(accuracy), accuracy < threshold], [DIVERGED, low], "")
            passes_later = passes_later | (accuracy >= threshold)
    return pd.DataFrame.from_dict({run: rows[run] for run in runs["run"]}, orient="index")


def failure_table(runs: pd.DataFrame, measured: Measured, threshold: float) -> pd.DataFrame:
    """The `failures` counted: a row for each run that has any, with its name, replicas, and how many of each kind."""
    table = failures(runs, measured, threshold)
    counts = pd.DataFrame({kind: (table == kind).sum(axis=1) for kind in FAILURES})
    counts.insert(0, "replicas", len(table.columns))
    return counts[counts[list(FAILURES)].any(axis=1)].rename_axis("run").reset_index()


def epoch_gains(grid: pd.DataFrame, measured: Measured, *, confidence: float) -> pd.DataFrame:
    """What more epochs bring: for each batch size and L2 of the grid's runs, test accuracy at each number of epochs
    less that at the next smaller, replica by replica, with interval and the share of replicas that gained.

    `grid` has a row for each run: its name, `batch_size`, `L2` and `epochs`.
    """
    rows = []
    for (batch_size, l2), cells in grid.sort_values("epochs").groupby(["batch_size", "L2"]):
        for shorter, longer in itertools.pairwise(cells.to_dict("records")):
            gain = measured[longer["run"]]["test_accuracy"] - np.asarray(measured[shorter["run"]]["test_accuracy"])
            rows.append(
                {"batch_size": batch_size, "l2": l2, "from_epochs": shorter["epochs"], "to_epochs": longer["epochs"]}
                | columns("median", median_interval(gain, confidence))
                | columns("gained", share_interval(int((known(gain) > 0).sum()), len(known(gain)), confidence))
            )
    settings = ["batch_size", "l2", "from_epochs", "to_epochs"]
    names = [name + end for name in ("median", "gained") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=settings + names)


def median(values: ArrayLike) -> float:
    """The median, where a replica that diverged (NaN) is below all; −∞ if half or more did."""
    return float(np.median(np.nan_to_num(np.asarray(values), nan=-np.inf)))


def best_runs(runs: Sequence[str], measured: Measured) -> dict[str, dict[str, Any]]:
    """The run with the best median validation accuracy, which is how to choose, and the one that choosing on the test
    set itself would give; each with both its accuracies. A replica that diverged is below all."""

    def accuracy(run: str, name: str) -> float:
        return median(measured[run][f"{name}_accuracy"])

    choice = {name: max(runs, key=lambda run: accuracy(run, name)) for name in ("validation", "test")}
    return {
        name: {"run": run} | {f"{other}_accuracy": accuracy(run, other) for other in ("validation", "test")}
        for name, run in choice.items()
    }
