"""What the runs of a training stage came to: their settings, a row for each replica, their cost curves.

python -m stages.evaluate grid
"""

from typing import Any

import pandas as pd

from nnlib import Run, Settings
from nnlib.data.dataset import sets
from nnlib.data.files import load_metadata, load_tensors, write_csv
from nnlib.evidence.measures import Early, curve_table, log_table, replica_table
from stages.common import DATASET, MODELS, RUNS, run
from stages.parameters import Parameters

CURVE_POINTS = 120


def main(params: Parameters, name: str) -> None:
    data = sets(load_tensors(DATASET))
    seeds = [params.seed + k for k in range(params.replicas)]
    early = Early(params.evidence.early_steps, params.evidence.early_epochs)
    tables: dict[str, list[pd.DataFrame]] = {"runs": [], "replicas": [], "curves": [], "log": []}
    for path in sorted((MODELS / name).glob("*.safetensors")):
        trained = Run.from_tensors(load_tensors(path))
        settings = Settings.from_metadata(load_metadata(path))
        added: dict[str, Any] = {
            "runs": pd.DataFrame([settings.record() | {f"{part}_examples": data[part][0].shape[1] for part in data}]),
            "replicas": replica_table(trained, seeds, data, settings.use_batchnorm, early),
            "curves": curve_table(trained, CURVE_POINTS),
            "log": log_table(trained, replica=0),
        }
        for kind, table in added.items():
            table.insert(0, "run", path.stem)
            tables[kind].append(table)
    for kind, parts in tables.items():
        write_csv(RUNS / name / f"{kind}.csv", pd.concat(parts, ignore_index=True))
    accuracies = pd.concat(tables["replicas"])["test_accuracy"]
    spread = f"test accuracy {accuracies.min():.4f} to {accuracies.max():.4f}"
    print(f"{name}: {spread if accuracies.notna().any() else 'every replica diverged'}")


if __name__ == "__main__":
    run(main)
