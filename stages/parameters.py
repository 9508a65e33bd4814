"""params.yaml, checked at the door of every stage; what decides a network is typed by `nnlib.core.settings`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from nnlib.core.settings import (
    Activation,
    BatchSize,
    Initialization,
    L2Strength,
    LayersDims,
    LearningRate,
    Momentum,
    Normalization,
    OptimizerName,
    Shuffle,
    Stopping,
)
from nnlib.data.catalogue import DATASETS, DataSet
from nnlib.errors import InputError
from nnlib.evidence.study import Name
from nnlib.records import Count, Fraction, Int, NotNegative, NotNegativeInt, Record, Seed, SplitSeed, Text, explain
from stages.paths import PARAMETERS
from stages.yaml_files import read_yaml

# The upper bound only keeps a slip of the finger from filling the memory; what fits is checked before training.
Replicas = Annotated[Int, Field(ge=1, le=100_000)]
# None stands for auto, as many as there are cores.
Threads = Annotated[Count | None, BeforeValidator(lambda value: None if value == "auto" else value)]

# What keys of earlier versions are called now.
RENAMED = {
    "reshuffle": "shuffle: every_epoch, once or never",
    "stopping.look_every": "stopping.eval_every",
    "alternatives": "explanations",
    "timing": "the benchmark benchmarks/batchnorm_time.py",
    "evidence.draws": "evidence.resamples",
}


class Preprocess(Record):
    pool: Literal["train", "all"]
    examples: NotNegativeInt
    test: Fraction
    validation: Fraction
    seed: SplitSeed


def _dataset(name: Any) -> DataSet:
    if isinstance(name, DataSet):
        return name
    if not isinstance(name, str) or name not in DATASETS:
        raise ValueError(f"one of {', '.join(DATASETS)}")
    return DATASETS[name]


class Network(Record):
    layers_dims: LayersDims
    initialization: Initialization  # type: ignore[valid-type]
    activation: Activation


def _different(values: list[Any]) -> list[Any]:
    # Cells are named after their values, of which numbers with a point are written with six digits.
    if len({f"{value:g}" if isinstance(value, float) else value for value in values}) < len(values):
        raise ValueError("values that differ in their first six digits")
    return values


class Grid(Record):
    batch_size: Annotated[list[BatchSize], Field(min_length=1), AfterValidator(_different)]
    epochs: Annotated[list[Count], Field(min_length=1), AfterValidator(_different)]
    l2: Annotated[list[L2Strength], Field(min_length=1), AfterValidator(_different)]


class Explanations(Record):
    replicas: Replicas
    changes: Annotated[dict[Name, dict[Text, Any]], Field(min_length=1)]


class Chance(Record):
    split_seeds: Annotated[list[SplitSeed], AfterValidator(_different)]
    split_replicas: Replicas
    crossed: Annotated[Int, Field(ge=2, le=1000)]


class Reports(Record):
    replicas: Replicas
    most_epochs: Annotated[Int, Field(ge=0, lt=2**63)]


class Margins(Record):
    accuracy: NotNegative
    cost: NotNegative


class Evidence(Record):
    confidence: Fraction
    margins: Margins
    resamples: Count
    seed: Seed
    early_steps: Count
    early_epochs: Count
    collapsed_below: Fraction


class Parameters(Record):
    seed: Seed
    replicas: Replicas
    device: Literal["auto", "cpu", "cuda"]
    threads: Threads
    l2: L2Strength
    learning_rate: LearningRate
    optimizer: OptimizerName  # type: ignore[valid-type]
    momentum: Momentum
    epochs: Count
    batch_size: BatchSize
    shuffle: Shuffle
    network: Network
    normalization: Normalization
    stopping: Stopping
    dataset: Annotated[DataSet, BeforeValidator(_dataset)]
    preprocess: Preprocess
    grid: Grid
    explanations: Explanations
    chance: Chance
    reports: Reports
    evidence: Evidence

    @property
    def seeds(self) -> range:
        """The replicas'."""
        return range(self.seed, self.seed + self.replicas)

    def common(self) -> dict[str, Any]:
        """What all runs of the study have in common, as `Settings` has it."""
        return {
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
            "momentum": self.momentum,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "L2": self.l2,
            "shuffle": self.shuffle,
            "normalization": self.normalization.model_dump(),
            "stopping": self.stopping.model_dump(),
            **self.network.model_dump(),
        }


def check(raw: Any) -> Parameters:
    """The parameters in a mapping as read from YAML.

    Raises
    ------
    InputError
        In one line, with each key that is unknown, missing or out of range: its name, what was expected, what came.
    """
    try:
        params = Parameters.model_validate(_numbers(raw))
    except ValidationError as error:
        raise InputError(explain(error, Parameters, RENAMED)) from None
    # These have defaults where nnlib is called; here every value stands in the file.
    for name in ("normalization", "stopping"):
        section = getattr(params, name)
        for missing in section.__class__.model_fields.keys() - section.model_fields_set:
            raise InputError(f"{name}.{missing}: expected a value, it is missing")
    params.dataset.check_layers("network.layers_dims", params.network.layers_dims)
    if params.preprocess.examples > (most := params.dataset.pool(params.preprocess.pool)):
        raise InputError(f"preprocess.examples: expected 0 (all) to {most}, got {params.preprocess.examples}")
    return params


def _numbers(raw: Any) -> Any:
    """The same with numbers as numbers, however YAML, DVC or Hydra write them: 32.0 for 32, "1e-4" for 0.0001."""
    if isinstance(raw, dict):
        return {key: _numbers(value) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_numbers(value) for value in raw]
    if isinstance(raw, str):
        try:
            return _numbers(float(raw)) if re.fullmatch(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?", raw) else raw
        except ValueError:
            return raw
    return int(raw) if isinstance(raw, float) and raw.is_integer() and abs(raw) < 2**63 else raw


def load(path: str | Path = PARAMETERS) -> Parameters:
    """The checked parameters of the file; an InputError with its name if it is no YAML or `check` refuses it."""
    raw = read_yaml(path)
    try:
        return check(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
