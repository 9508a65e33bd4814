"""What a configuration is trained with, and what a run of it is: the networks, how they got there, how they ended.

Both engines share what stands here: the looks at the costs, the stopping rule, what is kept of a replica that stops.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nnlib.arguments import whole
from nnlib.core.layers import per_network
from nnlib.core.model import Parameters, initialize_parameters
from nnlib.core.training import LOOK_EVERY, PATIENCE, SETTINGS, THRESHOLD, Record, StoppingRule
from nnlib.errors import InputError

# Told of every look at a replica: which, the step, its validation cost.
Progress = Callable[[int, int, float], object]

COSTS = ("train_cost", "validation_cost", "sum_squared_weights")


@dataclass(frozen=True)
class Settings:
    """What one configuration is trained with; names and meanings as in `l_layer_model`.

    `L2` may be a tensor of shape (R,), one λ for each replica.

    Raises
    ------
    ValueError
        If a value does not fit, with its name.
    """

    layers_dims: Sequence[int]
    learning_rate: float = 0.009
    epochs: int = 100
    batch_size: int = 32
    use_batchnorm: bool = False
    L2: float | Tensor = 0.0
    batchnorm_rule: str = "straight_through"
    rule: str = "he_fan_out"
    patience: int = PATIENCE
    threshold: float = THRESHOLD
    stopping_rule: str = "change"
    look_every: int = LOOK_EVERY
    reshuffle: bool = True

    def __post_init__(self) -> None:
        for name, check in (SETTINGS | {"epochs": whole()}).items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        per_network(self.L2, torch.empty((), dtype=torch.float64))

    def of(self, replica: int) -> Settings:
        """The same with the λ of one replica."""
        strengths = torch.as_tensor(self.L2)
        return replace(self, L2=strengths[replica].item()) if strengths.ndim else self

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON or a table; with one λ for all replicas."""
        return asdict(self) | {"L2": float(self.L2)}

    def metadata(self) -> dict[str, str]:
        """The record as text beside a run's tensors; `from_metadata` is the inverse."""
        return {"settings": json.dumps(self.record())}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Settings:
        return cls(**json.loads(metadata["settings"]))

    def last_step(self, examples: int) -> int:
        """Gradient steps in all epochs; the last batch of an epoch may be smaller."""
        return self.epochs * -(-examples // self.batch_size)


@dataclass
class Run:
    """R trained networks, how they got there, and all that is needed to go on.

    Attributes
    ----------
    parameters : W1 (R, out, in), b1 (R, out, 1), ..., each replica's last ones
    epoch, step : how far the run has come
    steps : (looks,) the steps at which costs were logged
    train_cost, validation_cost, sum_squared_weights : (looks, R); NaN once a replica is frozen
    stopped_at, diverged_at : (R,) the step at which the replica stopped or its cost was no longer finite; 0 for none
    reference, looks_since : (R,) the stopping rule's memory
    """

    parameters: Parameters
    reference: Tensor
    looks_since: Tensor
    stopped_at: Tensor
    diverged_at: Tensor
    epoch: int = 0
    step: int = 0
    steps: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    train_cost: Tensor = field(default_factory=lambda: torch.empty(0))
    validation_cost: Tensor = field(default_factory=lambda: torch.empty(0))
    sum_squared_weights: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def begin(cls, settings: Settings, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> Run:
        """Networks with first weights, nothing trained yet."""
        never = torch.zeros(len(seeds), dtype=torch.int64)
        nothing = torch.empty(0, len(seeds), dtype=dtype)
        return cls(
            parameters=initialize_parameters(settings.layers_dims, rule=settings.rule, seed=seeds, dtype=dtype),
            reference=torch.full((len(seeds),), torch.inf, dtype=dtype),
            looks_since=never,
            stopped_at=never.clone(),
            diverged_at=never.clone(),
            train_cost=nothing,
            validation_cost=nothing,
            sum_squared_weights=nothing,
        )

    @property
    def replicas(self) -> int:
        return len(self.reference)

    @property
    def running(self) -> Tensor:
        """(R,) True for each replica that neither stopped nor diverged."""
        return (self.stopped_at == 0) & (self.diverged_at == 0)

    def look(self, train_cost: Tensor, validation_cost: Tensor, settings: Settings) -> Tensor:
        """Take in the costs (R,) of the latest step; True for each replica that they freeze.

        The stopping rule does not count a last look between two regular ones.
        """
        running = self.running
        stop = torch.zeros_like(running)
        if self.step % settings.look_every == 0:
            stopping = StoppingRule(
                settings.patience, settings.threshold, settings.stopping_rule, self.reference, self.looks_since
            )
            stop = running & stopping.look(validation_cost)
            self.reference = stopping.reference.where(running, self.reference)
            self.looks_since = stopping.looks_since.where(running, self.looks_since)
        diverge = running & ~(train_cost.isfinite() & validation_cost.isfinite())
        self.diverged_at = torch.where(diverge, self.step, self.diverged_at)
        self.stopped_at = torch.where(stop & ~diverge, self.step, self.stopped_at)
        return stop | diverge

    def log(self, looks: Sequence[tuple[int, Tensor]]) -> None:
        """Append looks: the step, and the `COSTS` (3, R), NaN for a replica that was frozen before."""
        if looks:
            self.steps = torch.cat([self.steps, torch.tensor([step for step, _ in looks])])
            for name, values in zip(COSTS, torch.stack([costs for _, costs in looks], 1), strict=True):
                setattr(self, name, torch.cat([getattr(self, name), values.to(self.reference.dtype)]))

    def resumable(self, settings: Settings) -> Run:
        """The run as it was before a last look between two regular ones, which a longer run does not make."""
        if not len(self.steps) or self.step % settings.look_every == 0 or self.steps[-1] != self.step:
            return replace(self)
        costs = {name: getattr(self, name)[:-1] for name in COSTS}
        undone = self.diverged_at.masked_fill(self.diverged_at == self.step, 0)
        return replace(self, steps=self.steps[:-1], diverged_at=undone, **costs)

    def one(self, replica: int) -> Run:
        """The run of one replica alone; its log ends with it."""
        ended = int(torch.maximum(self.stopped_at, self.diverged_at)[replica])
        looks = int((self.steps <= ended).sum()) if ended else len(self.steps)
        return Run(
            parameters={name: value[replica : replica + 1] for name, value in self.parameters.items()},
            epoch=self.epoch,
            step=self.step,
            steps=self.steps[:looks],
            **{name: getattr(self, name)[:looks, replica : replica + 1] for name in COSTS},
            **{name: getattr(self, name)[replica : replica + 1] for name in STATE},
        )

    @classmethod
    def join(cls, runs: Sequence[Run]) -> Run:
        """The runs of single replicas of one configuration, side by side."""
        longest = max(runs, key=lambda run: len(run.steps))
        looks = len(longest.steps)

        def logged(name: str) -> Tensor:
            columns = [getattr(run, name) for run in runs]
            return torch.cat(
                [torch.nn.functional.pad(c, (0, 0, 0, looks - len(c)), value=torch.nan) for c in columns], 1
            )

        return cls(
            parameters={name: torch.cat([run.parameters[name] for run in runs]) for name in longest.parameters},
            epoch=longest.epoch,
            step=longest.step,
            steps=longest.steps,
            **{name: logged(name) for name in COSTS},
            **{name: torch.cat([getattr(run, name) for run in runs]) for name in STATE},
        )

    def tensors(self) -> dict[str, Tensor]:
        """The whole run as named tensors, for a file; `from_tensors` is the inverse."""
        state = {name: torch.as_tensor(value) for name, value in vars(self).items() if name != "parameters"}
        return self.parameters | state

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Run:
        names = cls.__dataclass_fields__.keys() - {"parameters"}
        state: dict[str, Any] = {name: tensors[name] for name in names}
        state["epoch"], state["step"] = int(state["epoch"]), int(state["step"])
        return cls(parameters={name: tensors[name] for name in tensors if name not in names}, **state)

    def records(self) -> list[Record]:
        """The history as plain records, one for each look at each replica that was still running."""
        return [
            {"replica": replica, "step": int(step)}
            | {name: getattr(self, name)[look, replica].item() for name in COSTS}
            for replica in range(self.replicas)
            for look, step in enumerate(self.steps)
            if not 0 < max(self.stopped_at[replica], self.diverged_at[replica]) < step
        ]


STATE = ("reference", "looks_since", "stopped_at", "diverged_at")


def check_settings(settings: Settings, seeds: Sequence[int], start: Run | None) -> None:
    """Raise a ValueError that names the argument if settings, seeds and the run to go on from do not fit together."""
    strengths = torch.as_tensor(settings.L2).numel()
    if strengths not in (1, len(seeds)):
        raise InputError(f"L2: expected one number, or one for each of the {len(seeds)} seeds, got {strengths}")
    if start and start.replicas != len(seeds):
        raise InputError(f"start: expected a run of {len(seeds)} replicas, one for each seed, got {start.replicas}")
    if start and start.epoch > settings.epochs:
        raise InputError(f"start: expected a run of at most {settings.epochs} epochs, got one of {start.epoch}")
