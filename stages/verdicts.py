"""Every study's claims and numbers against ours, from committed tables alone; and the metrics."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from nnlib.data.files import write_csv, write_json
from nnlib.evidence import judgement, selection, tables
from nnlib.evidence.judgement import Rules
from nnlib.evidence.reports import Report, report_tables
from stages.parameters import Parameters
from stages.paths import CHANCE, EXPLANATIONS, GRID, RUNS, STUDIES_RUNS, SUMMARY, TOGETHER, VERDICTS
from stages.program import run
from stages.studies import load_others, load_study


def main(params: Parameters) -> None:
    study, evidence = load_study(), params.evidence
    rules = Rules(evidence.confidence, evidence.margins.model_dump(), evidence.resamples, evidence.seed)
    folders = [RUNS / GRID, *(RUNS / name for name in study.runs)]
    measured = read(folders)
    changed: dict[str, Any] = {}
    for key, numbers in read([RUNS / EXPLANATIONS]).items():
        change, _, of = key.partition("/")
        changed.setdefault(change, {})[of] = numbers
    splits = {folder.name: read([folder]) for folder in sorted((RUNS / CHANCE).glob("split-*"))}
    grid = pd.read_csv(RUNS / GRID / "runs.csv")
    runs = pd.concat(pd.read_csv(folder / "runs.csv") for folder in folders)
    found = {
        **judgement.claims_and_comparisons(study, measured, rules),
        **judgement.fidelity(study, measured, changed, rules),
        **judgement.other_sets_and_splits(study, measured, splits, rules),
        "crossed": judgement.crossed_table(read([RUNS / CHANCE / "crossed"])),
        "winners": judgement.winner_table(study, measured, rules),
        "beats": judgement.beats_table(study, measured, rules),
        "epochs": selection.epoch_gains(grid, measured, confidence=evidence.confidence),
        "failures": selection.failure_table(runs, measured, evidence.collapsed_below),
    }
    for name, table in found.items():
        write_csv(VERDICTS / study.key / f"{name}.csv", table)
    reports = [Report(study, measured)]
    for other in load_others():
        there = read([RUNS / STUDIES_RUNS / other.key])
        reports.append(Report(other, there))
        if other.claims and there:
            for name, table in judgement.claims_and_comparisons(other, there, rules).items():
                write_csv(VERDICTS / other.key / f"{name}.csv", table)
    together = report_tables(reports, reports[0], confidence=evidence.confidence)
    for name, table in together.items():
        write_csv(VERDICTS / TOGETHER / f"{name}.csv", table)
    words = found["claims"].query("asked_by == 'study'")["verdict"].tolist()
    write_json(SUMMARY, judgement.summary(study, measured, list(grid["run"]), words))
    print(f"{len(words)} claims of the study: {judgement.said(words)}")


def read(folders: Iterable[Path]) -> dict[str, Any]:
    """The measures of the runs in such folders, those that are there."""
    found = [pd.read_csv(folder / "replicas.csv") for folder in folders if (folder / "replicas.csv").exists()]
    return tables.measures(tables.by_run(found)) if found else {}


if __name__ == "__main__":
    run(main)
