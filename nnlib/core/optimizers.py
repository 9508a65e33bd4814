"""Optimizers: what a step makes of the parameters, given their gradient.

Each is one function of plain arithmetic on arrays. The readable loop and the engine for GPUs call it with tensors, and
the CPU engine compiles it. A new one is such a function and its row in `OPTIMIZERS`; what it needs besides α is a field
of `Rates` and of `Settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple


class Rates(NamedTuple):
    """What updates are given: α, and what single optimizers need, the momentum μ."""

    learning_rate: Any
    momentum: Any


def gradient_descent(theta: Any, gradient: Any, state: Any, rates: Any) -> None:
    """θ ← θ − α dθ."""
    theta -= rates.learning_rate * gradient


def momentum(theta: Any, gradient: Any, state: Any, rates: Any) -> None:
    """v ← μ v + dθ, θ ← θ − α v, with v = 0 before the first step.

    B. Polyak, *Some methods of speeding up the convergence of iteration methods* (1964). As in PyTorch, α multiplies
    the whole velocity.
    """
    velocity = state[0]
    velocity *= rates.momentum
    velocity += gradient
    theta -= rates.learning_rate * velocity


class Optimizer(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    update : function of θ, dθ, the state and `Rates`; it changes θ and the state in place
    arrays : how many arrays of θ's shape its state has, all 0 before the first step
    needs : its own hyperparameters
    """

    update: Callable[[Any, Any, Any, Any], None]
    arrays: int
    needs: tuple[str, ...]


# Like every table that decides bits it is read-only: the store and Numba know the code, not what a program put in here.
OPTIMIZERS = MappingProxyType(
    {
        "gradient_descent": Optimizer(gradient_descent, arrays=0, needs=()),
        "momentum": Optimizer(momentum, arrays=1, needs=("momentum",)),
    }
)
