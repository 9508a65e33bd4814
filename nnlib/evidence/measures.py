"""What is measured of a finished run, one number for each replica; `nnlib.evidence.study.MEASURES` says what each
is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlib.core.model import sum_squared_weights
from nnlib.core.seeds import Seeds
from nnlib.core.settings import Settings
from nnlib.engine.run import HISTORY, Run
from nnlib.replicas.evaluate import ensemble_accuracy
from nnlib.replicas.prepared import PreparedSet

SETS = ("train", "validation", "test", "official")


@dataclass(frozen=True)
class Early:
    """How many steps, and how many epochs, count as the start of a run: as many as the shortest compared run has."""

    steps: int
    epochs: int


def replica_table(
    run: Run, seeds: Sequence[int | Seeds], sets: Mapping[str, PreparedSet], settings: Settings, early: Early
) -> pd.DataFrame:
    """One row for each replica: accuracies (fractions), final costs, the curves' height, weights, and how it ended.

    A replica that diverged has no costs (NaN), at the end or over its run, and no accuracies, unless its best
    parameters are returned. `sum_squared_weights`, `mean_W1`, `std_W1`, `mean_abs_W1` and so on are of the parameters
    that the run returned; NaN where those are not finite.
    """
    ended = torch.where(run.running, run.step, torch.maximum(run.stopped_at, run.diverged_at))
    last = (run.steps[:, None] == ended).int().argmax(0)
    alive, every = run.diverged_at == 0, torch.arange(run.replicas)
    columns: dict[str, Tensor] = {
        "replica": every,
        "seed": torch.tensor([Seeds.of(seed).weights for seed in seeds]),
        **{
            f"{name}_accuracy": ensemble_accuracy(sets[name], run.parameters, settings)
            if name in sets
            else torch.full((run.replicas,), torch.nan)
            for name in SETS
        },
        "train_cost": run.train_cost[last, every].where(alive, torch.nan),
        "validation_cost": run.validation_cost[last, every].where(alive, torch.nan),
        "sum_squared_weights": sum_squared_weights(run.parameters).double(),
    }
    for name, W in run.parameters.items():
        if name.startswith("W"):
            columns[f"mean_{name}"] = W.double().mean((-2, -1))
            columns[f"std_{name}"] = W.double().std((-2, -1), correction=0)
            columns[f"mean_abs_{name}"] = W.double().abs().mean((-2, -1))
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
    mean_train_cost, mean_validation_cost : over the whole run, the height of the curve
    early_steps_train_cost, ... : over the first steps, how fast it falls per step
    early_epochs_train_cost, ... : over the first epochs, how fast it falls per epoch
    roughness : the mean absolute change of the training cost between evaluations, over the first steps
    """
    first_steps = run.steps <= early.steps
    first_epochs = run.steps * run.epoch <= early.epochs * run.step
    alive = run.diverged_at == 0
    measures = {}
    for name in ("train_cost", "validation_cost"):
        costs = getattr(run, name).double().where(alive, torch.nan)
        measures[f"mean_{name}"] = costs.nanmean(0)
        measures[f"early_steps_{name}"] = costs[first_steps].nanmean(0)
        measures[f"early_epochs_{name}"] = costs[first_epochs].nanmean(0)
    train_cost = run.train_cost.double().where(alive, torch.nan)
    measures["roughness"] = train_cost[first_steps].diff(dim=0).abs().nanmean(0)
    return measures


def log_table(run: Run, replica: int) -> pd.DataFrame:
    """One replica's costs, Σ W² and accuracy: a row for each evaluation."""
    columns = {"step": run.steps} | {name: getattr(run, name)[:, replica] for name in HISTORY}
    return finite({name: values.numpy() for name, values in columns.items()})


def curve_table(run: Run, points: int) -> pd.DataFrame:
    """Costs, Σ W² and accuracy against steps, at so many evaluations or up to twice as many, evenly apart, and at the
    last one: median, lowest and highest replica."""
    evaluations = torch.arange(1, len(run.steps) + 1)
    at = (evaluations % max(1, len(evaluations) // points) == 0) | (evaluations == len(evaluations))
    table: dict[str, np.ndarray] = {"step": run.steps[at].numpy()}
    for name in HISTORY:
        values = getattr(run, name)[at].double()
        values = values.where(values.isfinite(), torch.nan)
        table[name] = values.nanquantile(0.5, 1).numpy()
        table[f"{name}_low"] = values.nan_to_num(torch.inf).amin(1).numpy()
        table[f"{name}_high"] = values.nan_to_num(-torch.inf).amax(1).numpy()
    return finite(table)
