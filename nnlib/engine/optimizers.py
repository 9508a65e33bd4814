"""The kernel's update by an optimizer of `nnlib.core.optimizers` that is not fused with the backward pass.

Plain gradient descent is: its backward pass changes the weights, those of the first layer where a feature is not 0. All
others need the whole gradient, and change every weight in every step.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload, register_jitable

from nnlib.core.optimizers import OPTIMIZERS
from nnlib.engine.jit import OPTIONS, inlined


def update(optimizer: Any, theta: Any, gradient: Any, state: Any, rates: Any) -> None:
    """θ and the state after a step, in place, by the optimizer that is `chosen`."""
    raise NotImplementedError


@overload(update, jit_options=OPTIONS)
def _update(optimizer: Any, theta: Any, gradient: Any, state: Any, rates: Any) -> Any:
    own = register_jitable(list(OPTIMIZERS.values())[optimizer.count].update)

    def by_the_chosen(optimizer: Any, theta: Any, gradient: Any, state: Any, rates: Any) -> None:
        own(theta, gradient, state, rates)

    return by_the_chosen


@inlined
def decay_gradient(net: Any, gradient: Any, factor: Any) -> None:
    """Set the gradient to that of the L2 term, λ/m W; the backward pass adds the rest."""
    gradient.W1[:] = factor * net.W1
    gradient.W[:] = factor * net.W
    gradient.b[:] = 0


@inlined
def update_all(net: Any, dense: Any) -> None:
    """All weights and biases after a step."""
    update(dense.optimizer, net.W1, dense.gradient.W1, dense.W1, dense.rates)
    update(dense.optimizer, net.W, dense.gradient.W, dense.W, dense.rates)
    update(dense.optimizer, net.b, dense.gradient.b, dense.b, dense.rates)
