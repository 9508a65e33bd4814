"""Results as the pipeline would find them, made up in a moment: real tables of networks that were never trained."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from pipeline import REPOSITORY

from nnlib import Run, Settings
from nnlib.data.dataset import one_hot
from nnlib.evidence.claims import Claim, decide
from nnlib.evidence.inspection import weight_table
from nnlib.evidence.measures import Early, curve_table, replica_table
from nnlib.evidence.tables import (
    baseline_table,
    claim_table,
    comparison_table,
    epoch_gains,
    explanation_table,
    fidelity_table,
    low_table,
    measures,
)
from stages import parameters
from stages.configurations import cells
from stages.parameters import read_yaml
from stages.reporting.results import Results

CONFIDENCE = 0.95
# Of each experiment: its batch norm, and whether it has L2.
EXPERIMENTS = {
    "1": ("none", False),
    "2": ("straight_through", True),
    "3": ("none", True),
    "4": ("straight_through", False),
    "2-exact": ("exact", True),
    "4-exact": ("exact", False),
}


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with an empty margin, and labels in turn."""
    X = torch.rand(784, count, generator=torch.Generator().manual_seed(0))
    X[:100] = 0
    return X, one_hot(torch.arange(count) % 10)


def made_up(*, diverged: tuple[str, ...] = (), **changes: Any) -> Results:
    """With other parameters, and with runs all of whose replicas diverged."""
    params = parameters.check(read_yaml(REPOSITORY / "params.yaml") | changes)
    study = read_yaml(REPOSITORY / "data/published/study.yaml")
    data = {name: images(40) for name in ("train", "validation", "test", "official")}
    wanted = cells(params) | {f"experiment-{key}": experiment(params, *kind) for key, kind in EXPERIMENTS.items()}
    runs = {key: run(settings, params, key in diverged) for key, settings in wanted.items()}
    seeds = [params.seed + k for k in range(params.replicas)]
    tables = {key: replica_table(one, seeds, data, wanted[key].use_batchnorm, Early(3, 2)) for key, one in runs.items()}
    measured = measures(tables)
    settings = pd.DataFrame(
        {"run": key, "stage": key.split("-")[0] if key in cells(params) else key, "train_examples": 40}
        | one.record()
        | {"layers_dims": str(one.layers_dims)}
        for key, one in wanted.items()
    )
    claims = [Claim.from_record(record) for record in study["claims"]]
    verdicts = decide(claims, measured, study["published"], confidence=CONFIDENCE)
    weights = weight_table(runs["experiment-1"], runs["experiment-3"])
    differences = {
        name: runs["experiment-1"].parameters[name] - runs["experiment-3"].parameters[name]
        for name in runs["experiment-1"].parameters
    }
    return Results(
        params=params,
        study=study,
        runs=settings,
        tables=tables,
        claims=claim_table(verdicts, measured, draws=100, seed=0),
        comparisons=comparison_table(verdicts),
        baseline=baseline_table(study["published"], measured),
        explanations=explanation_table(
            study["explanations"], study["published"], measured, dict.fromkeys(params.alternatives.changes, measured)
        ),
        low=low_table(settings, measured, params.evidence.collapsed_below),
        fidelity=fidelity_table(study["published"], measured, confidence=CONFIDENCE),
        curves={key: curve_table(one, 120) for key, one in runs.items()},
        train=images(40),
        models={key: one for key, one in runs.items() if key[:11] == "experiment-"},
        epochs=epoch_gains(settings[settings["stage"] == "grid"], measured, confidence=CONFIDENCE),
        timing=pd.DataFrame(
            {"code": ["loop", "engine"] * 2, "steps": 10}
            | {f"experiment-{key}": 1.0 for key in (1, 2, 3)}
            | {"experiment-4": [1.2, 1.1] * 2}
        ),
        weights=weights,
        weight_differences=differences,
        test=data["test"],
    )


def experiment(params: Any, rule: str, has_l2: bool) -> Settings:
    batchnorm = {} if rule == "none" else {"use_batchnorm": True, "batchnorm_rule": rule}
    return Settings(params.network.layers_dims, epochs=params.epochs, L2=params.l2 * has_l2, **batchnorm)


def run(settings: Settings, params: Any, diverges: bool) -> Run:
    """First weights, moved a little, with costs at five looks; or with none, if it diverges."""
    replicas = params.replicas
    made = Run.begin(settings, [params.seed + k for k in range(replicas)])
    noise = torch.Generator().manual_seed(settings.batch_size)
    for name, value in made.parameters.items():
        made.parameters[name] = value + 0.1 * torch.randn(value.shape, generator=noise)
    made.steps = torch.arange(1, 6) * settings.last_step(40)
    made.step = int(made.steps[-1])
    for name in ("train_cost", "validation_cost", "sum_squared_weights"):
        setattr(made, name, torch.rand(5, replicas, generator=noise) + 0.1)
    if diverges:
        made.diverged_at[:] = 1
        made.parameters = {name: torch.full_like(value, torch.nan) for name, value in made.parameters.items()}
        for name in ("train_cost", "validation_cost", "sum_squared_weights"):
            setattr(made, name, torch.full((5, replicas), torch.nan))
    return made
