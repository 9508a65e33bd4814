"""What the runs of a training stage came to: their settings, a row for each replica, their cost curves.

python -m stages.evaluate grid
python -m stages.evaluate alternatives runs replicas
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from nnlib import Run, Settings
from nnlib.data.dataset import sets
from nnlib.data.files import load_metadata, load_tensors, write_csv
from nnlib.evidence.measures import Early, curve_table, log_table, replica_table
from stages.common import DATASET, MODELS, RUNS, run
from stages.parameters import Parameters

CURVE_POINTS = 120


def main(params: Parameters, name: str, *kinds: str) -> None:
    """Write these kinds of tables, or all, for each folder of models below the stage's."""
    data = sets(load_tensors(DATASET))
    early = Early(params.evidence.early_steps, params.evidence.early_epochs)
    tables: dict[Path, list[pd.DataFrame]] = defaultdict(list)
    accuracies = []
    for path in sorted((MODELS / name).rglob("*.safetensors")):
        trained = Run.from_tensors(load_tensors(path))
        settings = Settings.from_metadata(load_metadata(path))
        added: dict[str, Any] = {
            "runs": pd.DataFrame([settings.record() | {f"{part}_examples": data[part][0].shape[1] for part in data}]),
            "replicas": replica_table(
                trained, [params.seed + k for k in range(trained.replicas)], data, settings.use_batchnorm, early
            ),
            "curves": curve_table(trained, CURVE_POINTS),
            "log": log_table(trained, replica=0),
        }
        accuracies.append(added["replicas"]["test_accuracy"])
        for kind in kinds or added:
            added[kind].insert(0, "run", path.stem)
            tables[RUNS / path.parent.relative_to(MODELS) / f"{kind}.csv"].append(added[kind])
    for path, parts in tables.items():
        write_csv(path, pd.concat(parts, ignore_index=True))
    tested = pd.concat(accuracies)
    spread = f"test accuracy {tested.min():.4f} to {tested.max():.4f}"
    print(f"{name}: {spread if tested.notna().any() else 'every replica diverged'}")


if __name__ == "__main__":
    run(main)
