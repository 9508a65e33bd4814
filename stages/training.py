"""How networks are trained, with a bar, and measured, as tables."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from nnlib import Cluster, Run, Seeds, Settings, Store, TrainingData, train_configurations
from nnlib.data.files import write_csv
from nnlib.errors import InputError
from nnlib.evidence.measures import Early, curve_table, log_table, replica_table
from nnlib.replicas.prepared import PreparedSet
from nnlib.replicas.train import Evaluation
from stages.parameters import Parameters
from stages.paths import store_folder

CURVE_POINTS = 120
# Of a stage its settings, a row for each replica, cost curves, and the costs of one replica.
KINDS = ("runs", "replicas", "curves", "log")


def train_and_measure(
    params: Parameters,
    sets: Mapping[str, tuple[Tensor, Tensor]],
    configurations: Mapping[str, Settings],
    seeds: Sequence[int | Seeds],
    folder: Path,
    *,
    kinds: Sequence[str] = KINDS,
    keep: Callable[[str, Run], object] = lambda key, run: None,
) -> None:
    """Train every configuration with every seed on "train", measure it on all sets, and write tables into a folder.

    Parameters
    ----------
    sets : (X, Y) by name, "train" and "validation" among them
    folder : in which the tables go
    kinds : which tables
    keep : given each configuration's key and run as soon as it is trained
    """
    dims = next(iter(configurations.values())).layers_dims
    data = TrainingData(sets["train"], sets["validation"], dims)
    prepared = {"train": data.train, "validation": data.validation}
    prepared = {name: prepared.get(name) or PreparedSet(both, dims) for name, both in sets.items()}
    tables = Tables(params, prepared, kinds)
    for key, run in train(params, data, configurations, seeds, name=folder.name):
        tables.add(key, run, configurations[key], seeds)
        keep(key, run)
    tables.write(folder)


def train(
    params: Parameters,
    data: TrainingData,
    configurations: Mapping[str, Settings],
    seeds: Sequence[int | Seeds],
    *,
    name: str,
) -> Iterator[tuple[str, Run]]:
    """Every configuration with every seed, by what params.yaml and the environment say, with a bar."""
    with tqdm(desc=name, unit="step", unit_scale=True, disable=None) as bar:

        def progress(evaluation: Evaluation) -> None:
            bar.total = evaluation.total
            bar.set_postfix_str(f"{evaluation.configuration}, cost {evaluation.validation_cost:.4g}", refresh=False)
            bar.update(evaluation.done - bar.n)

        yield from train_configurations(
            data,
            configurations,
            seeds,
            device=device(params.device),
            threads=params.threads,
            cluster=cluster(),
            store=Store(store_folder()),
            progress=progress,
        )


def device(name: str) -> str:
    """cpu, cuda, or for auto the one that is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: device: expected cuda to be available, torch finds none; use auto or cpu")
    return "cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu")


def cluster() -> Cluster | None:
    """Where Dask's own variable says, with the patience that CLUSTER_WAIT has in seconds."""
    address, wait = os.environ.get("DASK_SCHEDULER_ADDRESS"), os.environ.get("CLUSTER_WAIT")
    if not address:
        return None
    try:
        seconds = float(wait) if wait else Cluster.model_fields["wait"].default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"CLUSTER_WAIT: expected a number of seconds above 0, got {wait!r}")
    return Cluster(address=address, wait=seconds)


class Tables:
    """What runs came to, as tables: their settings, a row for each replica, their cost curves, one replica's costs."""

    def __init__(self, params: Parameters, sets: Mapping[str, PreparedSet], kinds: Sequence[str]) -> None:
        self.params, self.sets, self.kinds = params, sets, kinds
        self.parts: dict[str, dict[str, pd.DataFrame]] = {}

    def add(self, key: str, run: Run, settings: Settings, seeds: Sequence[int | Seeds]) -> None:
        early = Early(self.params.evidence.early_steps, self.params.evidence.early_epochs)
        examples = {f"{name}_examples": both.examples for name, both in self.sets.items()}
        tables = {
            "runs": lambda: pd.DataFrame([flat(settings.record()) | examples]),
            "replicas": lambda: replica_table(run, seeds, self.sets, settings, early),
            "curves": lambda: curve_table(run, CURVE_POINTS),
            "log": lambda: log_table(run, replica=0),
        }
        for kind in self.kinds:
            table = tables[kind]()
            table.insert(0, "run", key)
            self.parts.setdefault(kind, {})[key] = table

    def write(self, folder: Path) -> None:
        """Write the tables, rows in the order of the runs' keys, and say how the runs came out."""
        for kind, parts in self.parts.items():
            write_csv(folder / f"{kind}.csv", pd.concat([parts[key] for key in sorted(parts)]))
        tested = pd.concat(self.parts["replicas"].values())["test_accuracy"]
        spread = f"test accuracy {tested.min():.4f} to {tested.max():.4f}"
        print(f"{folder.name}: {spread if tested.notna().any() else 'every replica diverged'}")


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of settings as one row: sections with a dot, lists as text."""
    row: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            row |= {f"{name}.{entry}": inner for entry, inner in value.items()}
        else:
            row[name] = json.dumps(value) if isinstance(value, list) else value
    return row
