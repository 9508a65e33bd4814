"""`Run`: R networks of one configuration, how they got there, and how they ended.

Both engines share what stands here: the evaluations, early stopping, and what is kept of a replica that stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnlib.core.model import Parameters, initialize_parameters
from nnlib.core.optimizers import OPTIMIZERS
from nnlib.core.seeds import Seeds
from nnlib.core.settings import Settings
from nnlib.core.training import StoppingRule

# What an evaluation logs: the costs, Σ W² and the accuracy, as `l_layer_model` tells them.
HISTORY = ("train_cost", "validation_cost", "sum_squared_weights", "validation_accuracy")
# The optimizer that both engines fuse with the backward pass.
FUSED = "gradient_descent"
# What is kept of each W and b.
BY_PARAMETER = ("parameters", "last_parameters", "optimizer_state")
# The memory of early stopping, and when it, or a cost that is not finite, ended a replica.
STATE = ("reference", "best", "evals_without_progress", "stopped_at", "diverged_at")


@dataclass
class Run:
    """R trained networks, how they got there, and all that is needed to go on.

    Attributes
    ----------
    parameters : W1 (R, out, in), b1 (R, out, 1), ..., what `stopping.returns` asks for of each replica
    last_parameters : the same of the last step, where the best evaluation's are returned; else empty
    optimizer_state : (R, arrays, ...) for each W and b what the optimizer keeps after the last step; empty if nothing
    epoch, step : how far the run has come; in the end those asked for, whether reached or not
    steps : (evaluations,) the steps at which there was one
    train_cost, validation_cost, sum_squared_weights, validation_accuracy : (evaluations, R); NaN after a replica's end
    stopped_at, diverged_at : (R,) the step at which the replica stopped or its cost was no longer finite; 0 for none
    reference, best, evals_without_progress : (R,) as in `StoppingRule`
    """

    parameters: Parameters
    reference: Tensor
    best: Tensor
    evals_without_progress: Tensor
    stopped_at: Tensor
    diverged_at: Tensor
    train_cost: Tensor
    validation_cost: Tensor
    sum_squared_weights: Tensor
    validation_accuracy: Tensor
    last_parameters: Parameters = field(default_factory=dict)
    optimizer_state: Parameters = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    steps: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64, device="cpu"))

    @classmethod
    def begin(cls, settings: Settings, seeds: Sequence[int | Seeds], dtype: torch.dtype = torch.float32) -> Run:
        """Networks with initial weights, nothing trained yet."""
        R = len(seeds)
        parameters = initialize_parameters(
            settings.layers_dims,
            initialization=settings.initialization,
            seed=[Seeds.of(seed).weights for seed in seeds],
            dtype=dtype,
        )
        # Each is a tensor of its own: a safetensors file may not hold one under two names.
        never = torch.zeros(R, dtype=torch.int64, device="cpu")
        infinite = torch.full((R,), torch.inf, dtype=dtype, device="cpu")
        last = parameters if settings.stopping.returns == "best" else {}
        arrays = OPTIMIZERS[settings.optimizer].arrays
        kept = {name: value.new_zeros(R, arrays, *value.shape[1:]) for name, value in parameters.items() if arrays}
        history: dict[str, Any] = {name: torch.empty(0, R, dtype=dtype, device="cpu") for name in HISTORY}
        return cls(
            parameters=parameters,
            last_parameters={name: value.clone() for name, value in last.items()},
            optimizer_state=kept,
            reference=infinite,
            best=infinite.clone(),
            evals_without_progress=never,
            stopped_at=never.clone(),
            diverged_at=never.clone(),
            **history,
        )

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same, NaN and NaN too."""
        if not isinstance(other, Run):
            return NotImplemented
        ours, theirs = self.tensors(), other.tensors()
        return ours.keys() == theirs.keys() and all(
            np.array_equal(value.numpy(), theirs[name].numpy(), equal_nan=True) for name, value in ours.items()
        )

    @property
    def replicas(self) -> int:
        return len(self.reference)

    @property
    def running(self) -> Tensor:
        """(R,) True for each replica that neither stopped nor diverged."""
        return (self.stopped_at == 0) & (self.diverged_at == 0)

    def evaluate(self, evaluation: dict[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """Take in an evaluation at the latest step, (R,) of each of `HISTORY`.

        An evaluation made only because the step is the last counts neither for stopping nor as best.

        Returns
        -------
        ended : (R,) the replicas that it ends
        best : (R,) those of which it is the best so far
        """
        running = self.running
        stop = best = torch.zeros_like(running)
        if self.step % settings.stopping.eval_every == 0:
            rule = StoppingRule(settings.stopping)
            rule.reference, rule.best, rule.evals_without_progress = (getattr(self, name) for name in STATE[:3])
            stop, best = rule.evaluate(evaluation["validation_cost"], evaluation["validation_accuracy"])
            stop, best = stop & running, best & running
            for name in STATE[:3]:
                setattr(self, name, getattr(rule, name).where(running, getattr(self, name)))
        finite = evaluation["train_cost"].isfinite() & evaluation["validation_cost"].isfinite()
        diverged = running & ~finite
        self.diverged_at = torch.where(diverged, self.step, self.diverged_at)
        self.stopped_at = torch.where(stop & ~diverged, self.step, self.stopped_at)
        return stop | diverged, best

    def finish(self, settings: Settings, last_step: int) -> None:
        """Training is over. Where no evaluation was the best, the parameters of the last step are returned."""
        never = self.best.isinf()[:, None, None]
        best, last = self.parameters, self.last_parameters
        self.parameters = best | {name: torch.where(never, last[name], best[name]) for name in last}
        self.epoch, self.step = settings.epochs, last_step

    def log(self, evaluations: Sequence[tuple[int, dict[str, Tensor]]]) -> None:
        """Append evaluations: the step, and (R,) of each of `HISTORY`, NaN for a replica that had ended before."""
        if not evaluations:
            return
        self.steps = torch.cat([self.steps, torch.tensor([step for step, _ in evaluations], device="cpu")])
        for name in HISTORY:
            values = torch.stack([evaluation[name] for _, evaluation in evaluations])
            setattr(self, name, torch.cat([getattr(self, name), values.to(self.reference.dtype)]))

    def resumable(self, settings: Settings) -> Run:
        """The run as it was before an evaluation between two regular ones, which a longer run does not make."""
        if not len(self.steps) or self.step % settings.stopping.eval_every == 0 or self.steps[-1] != self.step:
            return replace(self)
        history = {name: getattr(self, name)[:-1] for name in HISTORY}
        undone = self.diverged_at.masked_fill(self.diverged_at == self.step, 0)
        return replace(self, steps=self.steps[:-1], diverged_at=undone, **history)

    def one(self, replica: int) -> Run:
        """The run of one replica alone; its history ends with it."""
        ended = int(torch.maximum(self.stopped_at, self.diverged_at)[replica])
        evaluations = int((self.steps <= ended).sum()) if ended else len(self.steps)
        only = slice(replica, replica + 1)
        values: dict[str, Any] = {
            which: {name: value[only] for name, value in getattr(self, which).items()} for which in BY_PARAMETER
        }
        values |= {name: getattr(self, name)[:evaluations, only] for name in HISTORY}
        values |= {name: getattr(self, name)[only] for name in STATE}
        return Run(epoch=self.epoch, step=self.step, steps=self.steps[:evaluations], **values)

    @classmethod
    def join(cls, runs: Sequence[Run]) -> Run:
        """The runs of single replicas of one configuration, side by side."""
        longest = max(runs, key=lambda run: len(run.steps))
        evaluations = len(longest.steps)

        def padded(values: Tensor) -> Tensor:
            return torch.nn.functional.pad(values, (0, 0, 0, evaluations - len(values)), value=torch.nan)

        values: dict[str, Any] = {
            which: {name: torch.cat([getattr(run, which)[name] for run in runs]) for name in getattr(longest, which)}
            for which in BY_PARAMETER
        }
        values |= {name: torch.cat([padded(getattr(run, name)) for run in runs], 1) for name in HISTORY}
        values |= {name: torch.cat([getattr(run, name) for run in runs]) for name in STATE}
        return cls(epoch=longest.epoch, step=longest.step, steps=longest.steps, **values)

    def tensors(self) -> dict[str, Tensor]:
        """The whole run as named tensors, for a file; `from_tensors` is the inverse."""
        named: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            if isinstance(value, dict):
                named |= {f"{name}.{key}": tensor for key, tensor in value.items()}
            else:
                named[name] = torch.as_tensor(value, device="cpu")
        return named

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Run:
        """The inverse of `tensors`; KeyError if a tensor is missing."""
        values: dict[str, Any] = {name: tensors[name] for name in ("steps", *HISTORY, *STATE)}
        for which in BY_PARAMETER:
            start = f"{which}."
            values[which] = {name.removeprefix(start): tensors[name] for name in tensors if name.startswith(start)}
        return cls(epoch=int(tensors["epoch"]), step=int(tensors["step"]), **values)


class Job(NamedTuple):
    """A replica to train: its settings, its seed, the run of it alone to go on from, and the epochs after which its run
    is handed out, up to the settings'."""

    settings: Settings
    seed: Seeds
    start: Run
    epochs: tuple[int, ...]


# Called at every evaluation of a job: its key, the step, the validation cost.
OnEval = Callable[[Any, int, float], object]
