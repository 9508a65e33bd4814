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


def study_files() -> list[Path]:
    """The files of all studies, without the hidden ones that editors and file systems put beside them."""
    return sorted(path for path in STUDIES.glob("*.yaml") if not path.name.startswith("."))


def store_folder() -> Path:
    """The store of trained replicas: REPLICA_STORE in the environment, or data/replicas of this repository.

    A queued experiment runs in a copy below .dvc/tmp/exps, and shares the store of the repository around it.
    """
    folder, here = os.environ.get("REPLICA_STORE") or STORE, Path.cwd()
    around = [parent for parent in here.parents if parent / ".dvc" / "tmp" / "exps" in here.parents]
    # A home directory is no folder of the repository.
    return Path(folder) if folder.startswith("~") else (around[-1] if around else here) / folder
