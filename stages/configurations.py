"""Which networks params.yaml asks for: the settings of the grid's cells, of an experiment, of a changed one.

And how they are trained, with a bar.
"""

import itertools
import os
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm

from nnlib import Run, Settings, Store, train_replicas
from nnlib.errors import InputError
from stages.common import GRID
from stages.parameters import Change, Parameters


def cells(params: Parameters) -> dict[str, Settings]:
    """The grid's configurations by key, shorter ones first, since longer ones go on from them."""
    values = sorted(params.grid.epochs), params.grid.batch_size, params.grid.l2
    return {
        f"{GRID}-b{batch_size}-e{epochs}-l{l2:g}": settings(params, batch_size=batch_size, epochs=epochs, L2=l2)
        for epochs, batch_size, l2 in itertools.product(*values)
    }


def experiment(params: Parameters, batchnorm: str, l2: float) -> Settings:
    """An experiment's configuration; `batchnorm` is none, or what is done with its derivative."""
    rule = {} if batchnorm == "none" else {"use_batchnorm": True, "batchnorm_rule": batchnorm}
    return settings(params, batch_size=params.batch_size, epochs=params.epochs, L2=l2, **rule)


def changed(settings: Settings, change: Change) -> Settings:
    return replace(settings, **change.model_dump(by_alias=True, exclude_none=True))


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
