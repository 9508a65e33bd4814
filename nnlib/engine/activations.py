"""The kernel's activations of hidden layers: each a forward and, from the activation A that it gave, its backward.

They work on SIMD vectors, element by element. A new one is a pair here and its row in `ACTIVATIONS`, as in
`nnlib.core.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numba.extending import overload

from nnlib.engine.functions import exp
from nnlib.engine.jit import OPTIONS
from nnlib.engine.simd import where_above

Pair = tuple[Callable[..., Any], Callable[..., Any]]


def relu(number: Any) -> Pair:
    """A = max(Z, 0), dZ = dA where A > 0."""
    zero = number(0)

    def forward(activation: Any, Z: Any) -> Any:
        return where_above(zero, Z, zero, Z)

    def backward(activation: Any, dA: Any, A: Any) -> Any:
        return where_above(A, zero, dA, zero)

    return forward, backward


def sigmoid(number: Any) -> Pair:
    """A = 1 / (1 + e^−Z), for Z < 0 as e^Z / (1 + e^Z), which does not overflow; dZ = dA A (1 − A)."""
    zero, one = number(0), number(1)

    def forward(activation: Any, Z: Any) -> Any:
        small = exp(where_above(Z, zero, zero - Z, Z))
        return where_above(Z, zero, one, small) / (small + one)

    def backward(activation: Any, dA: Any, A: Any) -> Any:
        return dA * A * (one - A)

    return forward, backward


# Each is a function of the float type that it is compiled for.
ACTIVATIONS: Mapping[str, Callable[[Any], Pair]] = MappingProxyType({"relu": relu, "sigmoid": sigmoid})


def activation_forward(activation: Any, Z: Any) -> Any:
    """A of Z, by the activation that is `chosen`."""
    raise NotImplementedError


def activation_backward(activation: Any, dA: Any, A: Any) -> Any:
    """dZ of dA and A."""
    raise NotImplementedError


def _pair(activation: Any, vector: Any) -> Pair:
    return list(ACTIVATIONS.values())[activation.count](np.dtype(vector.dtype.name).type)


@overload(activation_forward, jit_options=OPTIONS)
def _forward(activation: Any, Z: Any) -> Any:
    return _pair(activation, Z)[0]


@overload(activation_backward, jit_options=OPTIONS)
def _backward(activation: Any, dA: Any, A: Any) -> Any:
    return _pair(activation, A)[1]
