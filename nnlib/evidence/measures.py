"""What is measured of a finished run, one number for each replica."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlib.engine import Run, accuracy
from nnlib.model import sum_squared_weights

SETS = ("train", "validation", "test", "official")


def replica_table(
    run: Run, seeds: list[int], sets: dict[str, tuple[Tensor, Tensor]], use_batchnorm: bool
) -> pd.DataFrame:
    """One row for each replica: accuracies (fractions), final costs, weights, and how the run ended.

    A replica that diverged has no accuracies and no costs (NaN). `sum_squared_weights`, `mean_W1`, `std_W1` and so on
    are of the last parameters.
    """
    ended = torch.where(run.running, run.step, torch.maximum(run.stopped_at, run.diverged_at))
    last = (run.steps[:, None] == ended).int().argmax(0)
    alive = run.diverged_at == 0
    columns: dict[str, Tensor] = {
        "replica": torch.arange(run.replicas),
        "seed": torch.tensor(seeds),
        **{
            f"{name}_accuracy": accuracy(*sets[name], run.parameters, use_batchnorm=use_batchnorm)
            if name in sets
            else torch.full((run.replicas,), torch.nan)
            for name in SETS
        },
        "train_cost": run.train_cost.gather(0, last[None])[0].where(alive, torch.nan),
        "validation_cost": run.validation_cost.gather(0, last[None])[0].where(alive, torch.nan),
        "sum_squared_weights": sum_squared_weights(run.parameters).double(),
    }
    for name, W in run.parameters.items():
        if name[0] == "W":
            columns[f"mean_{name}"] = W.double().mean((-2, -1))
            columns[f"std_{name}"] = W.double().std((-2, -1), correction=0)
    columns |= {"steps": ended, "stopped_at": run.stopped_at, "diverged_at": run.diverged_at}
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def curve_table(run: Run, every: int) -> pd.DataFrame:
    """Costs and Σ W² against steps, every so many steps and at the last: median, lowest and highest replica."""
    at = (run.steps % every == 0) | (run.steps == run.steps[-1])
    table: dict[str, np.ndarray] = {"step": run.steps[at].numpy()}
    for name in ("train_cost", "validation_cost", "sum_squared_weights"):
        values = getattr(run, name)[at].double()
        table[name] = values.nanmedian(1).values.numpy()
        table[f"{name}_low"] = values.nan_to_num(torch.inf).amin(1).numpy()
        table[f"{name}_high"] = values.nan_to_num(-torch.inf).amax(1).numpy()
    return pd.DataFrame(table).replace([np.inf, -np.inf], np.nan)
