"""The study's claims and numbers against ours, from committed tables alone: verdicts, percentiles, a summary."""

from typing import Any

import pandas as pd

from nnlib.data.files import write_csv, write_json
from nnlib.evidence.claims import VERDICTS, Claim, decide
from nnlib.evidence.tables import best_runs, epoch_gains, fidelity_table, verdict_table
from stages.common import EPOCHS, FIDELITY, PUBLISHED, RUNS, SUMMARY, VERDICTS_FILE, WEIGHT_TABLE, run
from stages.parameters import Parameters, read_yaml
from stages.train import GRID


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
    """What `dvc metrics` and `dvc exp show` have: mean accuracies of the experiments, the best cell, verdicts."""
    experiments = {
        key: {name: pd.Series(values[f"{name}_accuracy"]).mean() for name in ("test", "validation", "train")}
        for key, values in measured.items()
        if key not in grid and "test_accuracy" in values
    }
    best = best_runs(grid, measured)["validation"]
    accuracies = {key: {name: rounded(value) for name, value in means.items()} for key, means in experiments.items()}
    return accuracies | {
        "best cell": {"run": best["run"], "test": rounded(best["test_accuracy"])},
        "claims": counts,
    }


def rounded(value: float) -> float | None:
    """Five decimals, or nothing where every replica diverged."""
    return round(value, 5) if abs(value) <= 1 else None


if __name__ == "__main__":
    run(main)
