"""What `dvc metrics` and `dvc exp show` have: as much as fits a terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nnlib.evidence.claims import CONTRADICTED, SUPPORTED
from nnlib.evidence.tables import best_runs, middle


def metrics(measured: dict[str, Any], grid: Sequence[str], verdicts: Counter[str]) -> dict[str, Any]:
    """The median test accuracy in percent of each experiment and of the cell that is best on the validation set, and
    how many claims came out for the study, against it, and neither."""
    accuracies = {
        key.removeprefix("experiment-"): middle(values["test_accuracy"])
        for key, values in measured.items()
        if key not in grid and "test_accuracy" in values
    }
    accuracies["best"] = best_runs(grid, measured)["validation"]["test_accuracy"]
    held, failed = verdicts[SUPPORTED], verdicts[CONTRADICTED]
    claims = {"for": held, "against": failed, "open": verdicts.total() - held - failed}
    return {key: percent(accuracy) for key, accuracy in accuracies.items()} | claims


def percent(accuracy: float) -> float | None:
    """With two decimals, or nothing where half of the replicas or more diverged."""
    return round(100 * accuracy, 2) if accuracy >= 0 else None
