"""What `grid-train` and `experiment` share: train a configuration, and write what came of it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

import nnlib
from nnlib import Run, Settings, train_replicas
from nnlib.data.dataset import sets
from nnlib.data.files import load_metadata, load_tensors, save_tensors, write_csv, write_json
from nnlib.evidence.measures import curve_table, replica_table
from nnlib.evidence.statistics import mean_interval
from stages.common import DATASET, MODELS, RUNS, TIMES, choose_device

CURVE_EVERY = 1000
METRICS = (
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "official_accuracy",
    "train_cost",
    "validation_cost",
    "sum_squared_weights",
)


def train_and_write(params: Any, key: str, settings: Settings, shorter: Iterable[Path] = ()) -> None:
    """Train all replicas of one configuration; write its model, its tables, its metrics and its time.

    `shorter` are models of the same configuration with fewer epochs. Where one of them is of the very same settings,
    seeds, data and code, training goes on from it, to the same bits as from the start.
    """
    seeds = [params.seed + k for k in range(params.replicas)]
    device = choose_device(params.device)
    data = sets(load_tensors(DATASET))
    mark = fingerprint(settings, seeds)
    start = longest_of_same(shorter, mark, settings.look_every)
    if start:
        print(f"{key}: going on from epoch {start.epoch} of the same run")

    steps = settings.epochs * math.ceil(data["train"][0].shape[1] / settings.batch_size)
    began = time.perf_counter()
    with tqdm(total=steps, initial=start.step if start else 0, desc=key, unit="step", disable=None) as bar:

        def progress(step: int, costs: Any) -> None:
            bar.set_postfix(epoch=step * settings.epochs // steps, cost=f"{costs.nanmedian():.4g}", refresh=False)
            bar.update(step - bar.n)

        run = train_replicas(
            data["train"], data["validation"], settings, seeds, start=start, device=device, progress=progress
        )
    seconds = time.perf_counter() - began

    table = replica_table(run, seeds, data, settings.use_batchnorm)
    write_csv(RUNS / f"{key}.csv", table)
    write_csv(RUNS / f"{key}-costs.csv", curve_table(run, CURVE_EVERY))
    write_json(RUNS / f"{key}.json", metrics(table))
    write_json(TIMES / f"{key}.json", {"seconds": round(seconds, 2), "steps": run.step - (start.step if start else 0)})
    save_tensors(MODELS / f"{key}.safetensors", run.tensors(), {"fingerprint": mark})
    accuracies = table["test_accuracy"]
    print(f"{key}: test accuracy {accuracies.min():.4f} to {accuracies.max():.4f} in {seconds:.0f} s")


def metrics(table: Any) -> dict[str, Any]:
    """Scalars for `dvc metrics`: the mean of each measure with its 95 % interval, and how the replicas ended."""
    record: dict[str, Any] = {name: mean_interval(table[name]).record() for name in METRICS}
    return record | {name: int((table[f"{name}_at"] > 0).sum()) for name in ("stopped", "diverged")}


def fingerprint(settings: Settings, seeds: list[int]) -> str:
    """A hash of all that decides a run but its length: settings, seeds, data, code."""
    digest = hashlib.sha256(repr((replace(settings, epochs=0), seeds)).encode())
    digest.update(DATASET.read_bytes())
    for source in sorted(Path(nnlib.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def longest_of_same(paths: Iterable[Path], mark: str, look_every: int) -> Run | None:
    """The longest of the runs that carry the fingerprint and end at a look, or None."""
    same = [path for path in paths if load_metadata(path).get("fingerprint") == mark]
    runs = [Run.from_tensors(load_tensors(path)) for path in same]
    return max((run for run in runs if run.step % look_every == 0), key=lambda run: run.epoch, default=None)
