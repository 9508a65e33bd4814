"""What every stage shares: how it starts, how it fails, and where the files are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from nnlib.errors import InputError
from stages import parameters

CHECKED = Path("data/checked.txt")
RAW = Path("data/raw")
DATASET = Path("data/processed/mnist.safetensors")
MODELS = Path("data/models")
STORE = "data/replicas"
WEIGHT_DIFFERENCES = Path("data/weight-diff.safetensors")
TIMING = Path("data/timing.csv")
PUBLISHED = Path("data/published/study.yaml")
REPORTS = Path("reports")
RUNS = REPORTS / "runs"
# Folders in MODELS and in RUNS, of the grid's runs and of the changed experiments; an experiment has one of its own.
GRID = "grid"
ALTERNATIVES = "alternatives"
# What the weights of two experiments differ by is published, and measured, as if it were a run.
WEIGHT_DIFF = "weight-diff"
WEIGHT_TABLE = REPORTS / "weight-diff.csv"
VERDICTS = REPORTS / "verdicts"
CLAIMS = VERDICTS / "claims.csv"
COMPARISONS = VERDICTS / "comparisons.csv"
FIDELITY = VERDICTS / "fidelity.csv"
BASELINE = VERDICTS / "baseline.csv"
EXPLANATIONS = VERDICTS / "explanations.csv"
EPOCHS = VERDICTS / "epochs.csv"
LOW = VERDICTS / "low.csv"
SUMMARY = REPORTS / "summary.json"
FIGURES = REPORTS / "figures"
PLOTS = REPORTS / "plots"

TRAINED = "finished replicas are kept, `dvc repro` does the rest of this stage again"
# What an interrupt leaves to do, where it is not what it is for most stages: the whole stage.
LEFT_TO_DO = {
    "train": TRAINED,
    "alternatives": TRAINED,
    "store": "the same command does the rest",
}


def run_folders() -> list[Path]:
    """The folders in reports/runs of the grid and of dvc.yaml's experiments; others may be left of what is no more."""
    return [RUNS / name for name in sorted((GRID, *parameters.experiments()))]


def store_folder() -> Path:
    """The store of trained replicas: REPLICA_STORE in the environment, or data/replicas of this repository.

    A queued experiment runs in a copy below .dvc/tmp/exps, and shares the store of the repository around it.
    """
    here = Path.cwd()
    around = [folder for folder in here.parents if folder / ".dvc" / "tmp" / "exps" in here.parents]
    return Path(os.environ.get("REPLICA_STORE") or (around[-1] if around else here) / STORE)


def run(main: Callable[..., Any]) -> None:
    """Run a stage's `main(params, *arguments)` as a program.

    What the user can mend ends it with one line on standard error and exit status 1, an interrupt with one line and
    130. Anything else is a defect and keeps its traceback.
    """
    name = Path(sys.argv[0]).stem
    # A letter that a terminal or a pipe lacks, λ on some Windows, is no reason to lose a run.
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")
    try:
        main(parameters.load(), *sys.argv[1:])
    except (InputError, OSError, MemoryError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {LEFT_TO_DO.get(name, '`dvc repro` does this stage again')}", file=sys.stderr)
        sys.exit(130)
