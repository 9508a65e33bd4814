"""What is measured of a finished run, one number for each replica."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlib.core.model import sum_squared_weights
from nnlib.engine.run import COSTS, Run
from nnlib.replicas.train import accuracy

SETS = ("train", "validation", "test", "official")


@dataclass(frozen=True)
class Early:
    """How many steps, and how many epochs, are the first of a run; as many as the shortest of those compared has."""

    steps: int
    epochs: int


# The columns of `replica_table`, and the differences of two runs' weights; {L} is the number of a layer.
MEASURES = (
    *(f"{name}_accuracy" for name in SETS),
    "train_cost",
    "validation_cost",
    "sum_squared_weights",
    "mean_validation_cost",
    "early_steps_validation_cost",
    "early_epochs_validation_cost",
    "roughness",
    "log10_sum_squared_weights",
    "mean_W{L}",
    "std_W{L}",
    "mean_difference_W{L}",
    "steps",
    "stopped_at",
    "diverged_at",
)


def measures_of(layers: int) -> set[str]:
    """The names of all measures of a network of so many layers."""
    return {name.format(L=layer) for name in MEASURES for layer in range(1, layers + 1)}


def is_measure(name: str) -> bool:
    """Whether some network has a measure of that name."""
    return re.sub(r"(?<=_W)[1-9]\d*$", "{L}", name) in MEASURES


def replica_table(
    run: Run, seeds: list[int], sets: dict[str, tuple[Tensor, Tensor]], use_batchnorm: bool, early: Early
) -> pd.DataFrame:
    """One row for each replica: accuracies (fractions), final costs, the curves' height, weights, and how it ended.

    A replica that diverged has no accuracies and no costs (NaN), at the end or over its run. `sum_squared_weights`,
    `mean_W1`, `std_W1` and so on are of the last parameters; NaN where those are not finite.
    """
    ended = torch.where(run.running, run.step, torch.maximum(run.stopped_at, run.diverged_at))
    last = (run.steps[:, None] == ended).int().argmax(0)
    alive, every = run.diverged_at == 0, torch.arange(run.replicas)
    columns: dict[str, Tensor] = {
        "replica": every,
        "seed": torch.tensor(seeds),
        **{
            f"{name}_accuracy": accuracy(*sets[name], run.parameters, use_batchnorm=use_batchnorm)
            if name in sets
            else torch.full((run.replicas,), torch.nan)
            for name in SETS
        },
        "train_cost": run.train_cost[last, every].where(alive, torch.nan),
        "validation_cost": run.validation_cost[last, every].where(alive, torch.nan),
        "sum_squared_weights": sum_squared_weights(run.parameters).double(),
    }
    for name, W in run.parameters.items():
        if name[0] == "W":
            columns[f"mean_{name}"] = W.double().mean((-2, -1))
            columns[f"std_{name}"] = W.double().std((-2, -1), correction=0)
    columns |= history_measures(run, early)
    columns["log10_sum_squared_weights"] = columns["sum_squared_weights"].log10()
    columns |= {"steps": ended, "stopped_at": run.stopped_at, "diverged_at": run.diverged_at}
    return finite({name: values.numpy() for name, values in columns.items()})


def finite(columns: Mapping[str, Any]) -> pd.DataFrame:
    """The columns as a table in which what is infinite is missing, as what is NaN."""
    return pd.DataFrame(columns).replace([np.inf, -np.inf], np.nan)


def history_measures(run: Run, early: Early) -> dict[str, Tensor]:
    """What the cost curves say, one number for each replica; NaN for one that diverged.

    Returns
    -------
    mean_validation_cost : over the whole run, the height of the curve
    early_steps_validation_cost : over the first steps, how fast it falls per step
    early_epochs_validation_cost : over the first epochs, how fast it falls per epoch
    roughness : the mean change of the training cost from one look to the next, over the first steps
    """
    first = run.steps <= early.steps
    seen = run.steps * run.epoch <= early.epochs * run.step
    alive = run.diverged_at == 0
    train, validation = (costs.double().where(alive, torch.nan) for costs in (run.train_cost, run.validation_cost))
    return {
        "mean_validation_cost": validation.nanmean(0),
        "early_steps_validation_cost": validation[first].nanmean(0),
        "early_epochs_validation_cost": validation[seen].nanmean(0),
        "roughness": train[first].diff(dim=0).abs().nanmean(0),
    }


def log_table(run: Run, replica: int) -> pd.DataFrame:
    """One replica's costs at every look, as the study's attachments have them; a row a look."""
    columns = {"step": run.steps} | {name: getattr(run, name)[:, replica] for name in COSTS}
    return finite({name: values.numpy() for name, values in columns.items()})


def curve_table(run: Run, points: int) -> pd.DataFrame:
    """Costs and Σ W² against steps, at so many looks or up to twice as many, evenly apart, and at the last one: median,
    lowest and highest replica."""
    looks = torch.arange(1, len(run.steps) + 1)
    at = (looks % max(1, len(looks) // points) == 0) | (looks == len(looks))
    table: dict[str, np.ndarray] = {"step": run.steps[at].numpy()}
    for name in COSTS:
        values = getattr(run, name)[at].double()
        values = values.where(values.isfinite(), torch.nan)
        table[name] = values.nanquantile(0.5, 1).numpy()
        table[f"{name}_low"] = values.nan_to_num(torch.inf).amin(1).numpy()
        table[f"{name}_high"] = values.nan_to_num(-torch.inf).amax(1).numpy()
    return finite(table)
