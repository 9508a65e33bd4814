"""Train all replicas of the grid's cells, or of one experiment, and write each run with its settings.

python -m stages.train grid
python -m stages.train experiment-2 --batchnorm straight_through --l2 0.01
"""

import argparse
import itertools
import os
from typing import Any

import torch
from tqdm import tqdm

from nnlib import Run, Settings, Store, train_replicas
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, save_tensors
from nnlib.errors import InputError
from stages.common import DATASET, GRID, MODELS, run, store_folder
from stages.parameters import Parameters
from stages.reporting.labels import check_label


@torch.no_grad()
def main(params: Parameters, *arguments: str) -> None:
    asked = arguments_of(arguments)
    if asked.name == GRID:
        configurations = cells(params)
    else:
        check_label(asked.name)
        configurations = {asked.name: experiment(params, asked)}
    data, store = sets(load_tensors(DATASET)), Store(store_folder())
    for key, settings in configurations.items():
        trained = train_with_a_bar(params, key, settings, data, store, params.replicas)
        save_tensors(MODELS / asked.name / f"{key}.safetensors", trained.tensors(), settings.metadata())


def arguments_of(arguments: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m stages.train", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", help="grid, or what the experiment is called")
    parser.add_argument("--batchnorm", choices=["none", "straight_through", "exact"], default="none")
    parser.add_argument("--l2", type=float, default=0.0)
    return parser.parse_args(arguments)


def cells(params: Parameters) -> dict[str, Settings]:
    """The grid's configurations by key, shorter ones first, since longer ones go on from them."""
    values = sorted(params.grid.epochs), params.grid.batch_size, params.grid.l2
    return {
        f"{GRID}-b{batch_size}-e{epochs}-l{l2:g}": settings(params, batch_size=batch_size, epochs=epochs, L2=l2)
        for epochs, batch_size, l2 in itertools.product(*values)
    }


def experiment(params: Parameters, asked: argparse.Namespace) -> Settings:
    batchnorm = {} if asked.batchnorm == "none" else {"use_batchnorm": True, "batchnorm_rule": asked.batchnorm}
    return settings(params, batch_size=params.batch_size, epochs=params.epochs, L2=asked.l2, **batchnorm)


def settings(params: Parameters, **own: Any) -> Settings:
    """What every configuration takes from params.yaml, and what is its own."""
    return Settings(
        layers_dims=tuple(params.network.layers_dims),
        rule=params.network.initialization,
        learning_rate=params.learning_rate,
        patience=params.stopping.patience,
        threshold=params.stopping.threshold,
        stopping_rule=params.stopping.rule,
        look_every=params.stopping.look_every,
        reshuffle=params.reshuffle,
        **own,
    )


def train_with_a_bar(
    params: Parameters, key: str, settings: Settings, data: dict[str, Any], store: Store, replicas: int
) -> Run:
    last_step = settings.last_step(data["train"][0].shape[1])
    steps = [0] * replicas
    with tqdm(total=last_step * replicas, desc=key, unit="step", unit_scale=True, disable=None) as bar:

        def progress(replica: int, step: int, cost: float) -> None:
            bar.set_postfix(replica=replica, cost=f"{cost:.4g}", refresh=False)
            bar.update(step - steps[replica])
            steps[replica] = step

        seeds = range(params.seed, params.seed + replicas)
        return train_replicas(
            data["train"],
            data["validation"],
            settings,
            seeds,
            device=device(params.device),
            threads=params.threads,
            cluster=os.environ.get("DASK_SCHEDULER_ADDRESS"),
            store=store,
            progress=progress,
        )


def device(name: str) -> torch.device:
    """cpu, cuda, or for auto the one that is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: device: expected cuda to be available, torch finds none; use auto or cpu")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))


if __name__ == "__main__":
    run(main)
