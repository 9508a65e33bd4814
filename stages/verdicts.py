"""The study's claims and numbers against ours, from committed tables alone: verdicts, percentiles, a summary."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnlib.data.files import write_csv, write_json
from nnlib.evidence.claims import CONTRADICTED, SUPPORTED, Claim, decide, said
from nnlib.evidence.tables import (
    baseline_table,
    best_runs,
    claim_table,
    comparison_table,
    epoch_gains,
    explanation_table,
    fidelity_table,
    low_table,
)
from stages.common import (
    ALTERNATIVES,
    BASELINE,
    CLAIMS,
    COMPARISONS,
    EPOCHS,
    EXPLANATIONS,
    FIDELITY,
    GRID,
    LOW,
    PUBLISHED,
    RUNS,
    SUMMARY,
    WEIGHT_TABLE,
    run,
)
from stages.parameters import Parameters, read_yaml


def main(params: Parameters) -> None:
    study, evidence = read_yaml(PUBLISHED), params.evidence
    published, measured = study["published"], measures(RUNS.glob("*/replicas.csv")) | weights()
    changed = (RUNS / ALTERNATIVES).glob("*/replicas.csv")
    alternatives = {path.parent.name: measures([path]) for path in changed}
    runs = pd.concat(pd.read_csv(path) for path in sorted(RUNS.glob("*/runs.csv")))
    grid = pd.read_csv(RUNS / GRID / "runs.csv")

    claims = [Claim.from_record(record) for record in study["claims"]]
    verdicts = decide(claims, measured, published, confidence=evidence.confidence)
    fidelity = fidelity_table(published, measured, confidence=evidence.confidence)
    baseline = baseline_table(published, measured)
    tables = {
        CLAIMS: claim_table(verdicts, measured, draws=evidence.draws, seed=evidence.seed),
        COMPARISONS: comparison_table(verdicts),
        FIDELITY: fidelity,
        BASELINE: baseline,
        EXPLANATIONS: explanation_table(study["explanations"], published, measured, alternatives),
        EPOCHS: epoch_gains(grid, measured, confidence=evidence.confidence),
        LOW: low_table(runs, measured, evidence.collapsed_below),
    }
    for path, table in tables.items():
        write_csv(path, table)
    words = Counter(verdict.verdict for verdict in verdicts)
    write_json(SUMMARY, summary(measured, list(grid["run"]), words))
    for verdict in verdicts:
        print(f"{verdict.verdict:>16}  {verdict.claim.says} ({verdict.parts})")
    print(f"{len(verdicts)} claims: {said(words)}")
    ours = baseline["inside"][1:].mean()
    print(
        f"{fidelity['inside'].sum()} of the study's {len(fidelity)} numbers lie within our replicas' range; "
        f"of a replica of ours {ours:.1f} within that of the others"
    )


def measures(paths: Iterable[Path]) -> dict[str, Any]:
    """run → measure → one value for each replica."""
    return {
        str(key): {str(name): table[name].to_numpy() for name in table.columns.drop("run")}
        for path in sorted(paths)
        for key, table in pd.read_csv(path).groupby("run")
    }


def weights() -> dict[str, Any]:
    """What L2 does to the mean weights, as measures of a run of its own."""
    layers = pd.read_csv(WEIGHT_TABLE).groupby("layer")
    return {"weight-diff": {f"mean_difference_{layer}": rows["mean_difference"].to_numpy() for layer, rows in layers}}


def summary(measured: dict[str, Any], grid: list[str], words: Counter[str]) -> dict[str, Any]:
    """What `dvc metrics` and `dvc exp show` have: as much as fits a terminal.

    The median test accuracy in percent of each experiment and of the cell that is best on the validation set, and how
    many claims came out for the study, against it, and neither.
    """
    experiments = {
        key.removeprefix("experiment-"): percent(np.median(np.nan_to_num(values["test_accuracy"], nan=-np.inf)))
        for key, values in measured.items()
        if key not in grid and "test_accuracy" in values
    }
    best = percent(best_runs(grid, measured)["validation"]["test_accuracy"])
    held, failed = words[SUPPORTED], words[CONTRADICTED]
    claims = {"for": held, "against": failed, "open": words.total() - held - failed}
    return experiments | {"best": best} | claims


def percent(accuracy: float) -> float | None:
    """With two decimals, or nothing where most replicas diverged."""
    return round(100 * accuracy, 2) if accuracy >= 0 else None


if __name__ == "__main__":
    run(main)
