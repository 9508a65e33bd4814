"""Where the pipeline's files are."""

from __future__ import annotations

import os
from pathlib import Path

PARAMETERS = Path("params.yaml")
CHECKED = Path("data/checked.txt")
RAW = Path("data/raw")
DATASET = Path("data/processed/mnist.safetensors")
MODELS = Path("data/models")
STORE = "data/replicas"
WEIGHT_DIFFERENCES = Path("data/weight-diff.safetensors")
STUDIES = Path("data/studies")
# The study whose hyperparameters params.yaml holds; all others have theirs in their own file.
STUDY = STUDIES / "study.yaml"
REPORTS = Path("reports")
RUNS = REPORTS / "runs"
# Folders in RUNS beside those of the study's runs.
GRID, EXPLANATIONS, CHANCE, STUDIES_RUNS = "grid", "explanations", "chance", "studies"
WEIGHT_TABLE = REPORTS / "weight-diff.csv"
VERDICTS = REPORTS / "verdicts"
# A folder in VERDICTS beside those of the studies: what all of them say together.
TOGETHER = "reports"
FIRST_HALF = REPORTS / "first-half"
SUMMARY = REPORTS / "summary.json"
FIGURES = REPORTS / "figures"
PLOTS = REPORTS / "plots"


def store_folder() -> Path:
    """The store of trained replicas: REPLICA_STORE in the environment, or data/replicas of this repository.

    A queued experiment runs in a copy below .dvc/tmp/exps, and shares the store of the repository around it.
    """
    here = Path.cwd()
    around = [folder for folder in here.parents if folder / ".dvc" / "tmp" / "exps" in here.parents]
    return Path(os.environ.get("REPLICA_STORE") or (around[-1] if around else here) / STORE)
