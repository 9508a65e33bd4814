"""The study's claims and numbers against ours, from committed tables alone: verdicts, percentiles, a summary."""

from typing import Any

import pandas as pd

from nnlib.data.files import write_csv, write_json
from nnlib.evidence.claims import CONTRADICTED, SUPPORTED, VERDICTS, Claim, decide
from nnlib.evidence.tables import best_runs, epoch_gains, fidelity_table, verdict_table
from stages.common import EPOCHS, FIDELITY, GRID, PUBLISHED, RUNS, SUMMARY, VERDICTS_FILE, WEIGHT_TABLE, run
from stages.parameters import Parameters, read_yaml


def main(params: Parameters) -> None:
    study, measured = read_yaml(PUBLISHED), measures()
    evidence = params.evidence
    statistics: dict[str, Any] = {
        "confidence": evidence.confidence,
        "resamples": evidence.resamples,
        "seed": evidence.seed,
    }

    claims = [Claim.from_record(record) for record in study["claims"]]
    verdicts = decide(claims, measured, study["published"], **statistics)
    write_csv(VERDICTS_FILE, verdict_table(verdicts, measured))
    fidelity = fidelity_table(study["published"], measured, **statistics)
    write_csv(FIDELITY, fidelity)
    grid = pd.read_csv(RUNS / GRID / "runs.csv")
    write_csv(EPOCHS, epoch_gains(grid, measured, **statistics))

    counts = {name: sum(verdict.verdict == name for verdict in verdicts) for name in VERDICTS}
    write_json(SUMMARY, summary(measured, list(grid["run"]), counts))
    for verdict in verdicts:
        print(f"{verdict.verdict:>12}  {verdict.claim.says}")
    print(f"{fidelity['inside'].sum()} of the study's {len(fidelity)} numbers lie within our replicas' range")


def measures() -> dict[str, Any]:
    """run → measure → one value for each replica."""
    measured = {}
    for path in sorted(RUNS.glob("*/replicas.csv")):
        for key, table in pd.read_csv(path).groupby("run"):
            measured[str(key)] = {str(name): table[name].to_numpy() for name in table.columns.drop("run")}
    weights = pd.read_csv(WEIGHT_TABLE)
    measured["weight-diff"] = {
        f"mean_difference_{layer}": rows["mean_difference"].to_numpy() for layer, rows in weights.groupby("layer")
    }
    return measured


def summary(measured: dict[str, Any], grid: list[str], counts: dict[str, int]) -> dict[str, Any]:
    """What `dvc metrics` and `dvc exp show` have: as much as fits a terminal.

    The mean test accuracy in percent of each experiment and of the cell that is best on the validation set, and how
    many claims came out for the study, against it, and neither.
    """
    experiments = {
        key.removeprefix("experiment-"): percent(pd.Series(values["test_accuracy"]).mean())
        for key, values in measured.items()
        if key not in grid and "test_accuracy" in values
    }
    best = percent(best_runs(grid, measured)["validation"]["test_accuracy"])
    held, failed = counts[SUPPORTED], counts[CONTRADICTED]
    claims = {"for": held, "against": failed, "open": sum(counts.values()) - held - failed}
    return experiments | {"best": best} | claims


def percent(accuracy: float) -> float | None:
    """With two decimals, or nothing where every replica diverged."""
    return round(100 * accuracy, 2) if accuracy >= 0 else None


if __name__ == "__main__":
    run(main)
