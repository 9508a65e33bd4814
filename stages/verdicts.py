"""The study's claims and numbers against ours, from committed tables alone: verdicts, percentiles, the metrics."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from nnlib.data.files import write_csv, write_json
from nnlib.evidence import tables
from nnlib.evidence.claims import Claim, decide, said
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
    WEIGHT_DIFF,
    WEIGHT_TABLE,
    run,
    run_folders,
)
from stages.parameters import Parameters, read_yaml
from stages.reporting.metrics import metrics


def main(params: Parameters) -> None:
    study, evidence = read_yaml(PUBLISHED), params.evidence
    published, measured = study["published"], read(run_folders()) | weights()
    changes = [path.parent for path in (RUNS / ALTERNATIVES).glob("*/replicas.csv")]
    alternatives = {folder.name: read([folder]) for folder in changes}
    runs = pd.concat(pd.read_csv(folder / "runs.csv") for folder in run_folders())
    grid = pd.read_csv(RUNS / GRID / "runs.csv")

    claims = [Claim.from_record(record) for record in study["claims"]]
    verdicts = decide(claims, measured, published, confidence=evidence.confidence)
    fidelity = tables.fidelity_table(published, measured, confidence=evidence.confidence)
    baseline = tables.baseline_table(published, measured)
    for path, table in {
        CLAIMS: tables.claim_table(verdicts, measured, draws=evidence.draws, seed=evidence.seed),
        COMPARISONS: tables.comparison_table(verdicts),
        FIDELITY: fidelity,
        BASELINE: baseline,
        EXPLANATIONS: tables.explanation_table(study["explanations"], published, measured, alternatives),
        EPOCHS: tables.epoch_gains(grid, measured, confidence=evidence.confidence),
        LOW: tables.low_table(runs, measured, evidence.collapsed_below),
    }.items():
        write_csv(path, table)
    words = Counter(verdict.verdict for verdict in verdicts)
    write_json(SUMMARY, metrics(measured, list(grid["run"]), words))
    for verdict in verdicts:
        print(f"{verdict.verdict:>16}  {verdict.claim.says} ({verdict.parts})")
    print(f"{len(verdicts)} claims: {said(words)}")
    print(
        f"{fidelity['inside'].sum()} of {len(fidelity)} numbers of the study lie within our replicas' range; "
        f"of a replica of ours {baseline['inside'][1:].mean():.1f} within that of the others"
    )


def read(folders: Iterable[Path]) -> dict[str, Any]:
    """The measures of the runs in such folders."""
    return tables.measures(tables.by_run(pd.read_csv(folder / "replicas.csv") for folder in folders))


def weights() -> dict[str, Any]:
    """What L2 does to the mean weights, as measures of a run of its own."""
    layers = pd.read_csv(WEIGHT_TABLE).groupby("layer")
    return {WEIGHT_DIFF: {f"mean_difference_{layer}": rows["mean_difference"].to_numpy() for layer, rows in layers}}


if __name__ == "__main__":
    run(main)
