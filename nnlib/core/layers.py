"""One layer, forward and backward: each backward stands under its forward.

Names and signatures are those of the assignment that the study solves, so that solutions can be read side by side:
hence a capital B in `linear_activation_forward`, and dA and dZ of each example, not yet divided by m, while dW and db
are gradients of the cost averaged over the m examples.

Shapes follow it too: activations are features × examples, `A (..., n, m)`, weights `W (..., out, in)`, biases
`b (..., out, 1)`, one-hot labels `Y (..., classes, m)`. The leading axes `...` are empty for one network, or `(R,)` for
R networks side by side; no function here needs to know which. Arrays may be tensors, NumPy arrays or lists; one that
does not fit is an InputError that names the argument. Results are tensors.

The formulas are those of I. Goodfellow, Y. Bengio, A. Courville, *Deep Learning* (2016), section 6.5, in the notation
of A. Ng's course; docs/backprop.md derives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nnlib.arrays import ArrayLike
from nnlib.core.settings import L2Strength, Normalization
from nnlib.errors import InputError
from nnlib.records import checked, what
from nnlib.validation import choose, fit

BATCHNORM_EPSILON = Normalization().epsilon


class LinearCache(NamedTuple):
    """What `linear_backward` needs of the forward pass: A_prev (..., in, m), W (..., out, in), b (..., out, 1)."""

    A_prev: Tensor
    W: Tensor
    b: Tensor


class LayerCache(NamedTuple):
    """What the backward of a layer needs: the linear cache, the activation cache Z (..., out, m), and, where batch norm
    follows, the activation A (..., out, m) before it."""

    linear_cache: LinearCache
    activation_cache: Tensor
    A: Tensor | None = None


def linear_forward(A: ArrayLike, W: ArrayLike, b: ArrayLike) -> tuple[Tensor, LinearCache]:
    """Z = W A + b.

    Parameters
    ----------
    A : (..., in, m) activations of the previous layer, or the input
    W : (..., out, in) weights
    b : (..., out, 1) biases

    Returns
    -------
    Z : (..., out, m)
    cache : (A, W, b), for `linear_backward`

    Raises
    ------
    InputError
        If the shapes do not fit together; the message names the argument.
    """
    A, W, b = fit(A=(A, "in m"), W=(W, "out in"), b=(b, "out 1"))
    return W @ A + b, LinearCache(A, W, b)


def linear_backward(dZ: ArrayLike, cache: Sequence[ArrayLike], L2: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of Z = W A + b, with the L2 term of the cost: dW = dZ Aᵀ / m + (λ / m) W.

    Parameters
    ----------
    dZ : (..., out, m)
    cache : (A_prev, W, b) from `linear_forward`
    L2 : λ ≥ 0

    Returns
    -------
    dA_prev : (..., in, m), Wᵀ dZ
    dW : (..., out, in)
    db : (..., out, 1), the mean of dZ over the examples

    Raises
    ------
    InputError
        If the shapes do not fit together or λ is negative; the message names the argument.
    """
    A_prev, W, b = entries("cache", cache, LinearCache)
    dZ, A_prev, W, b = fit(
        dZ=(dZ, "out m"), **{"cache: A_prev": (A_prev, "in m"), "cache: W": (W, "out in"), "cache: b": (b, "out 1")}
    )
    m = A_prev.shape[-1]
    dW = dZ @ A_prev.mT / m + checked("L2", L2, L2Strength) / m * W
    db = dZ.sum(-1, keepdim=True) / m
    dA_prev = W.mT @ dZ
    return dA_prev, dW, db


def relu(Z: ArrayLike) -> tuple[Tensor, Tensor]:
    """A = max(Z, 0), and Z as the activation cache; shapes (..., n, m).

    Raises
    ------
    InputError
        If Z is not an array of float32 or float64, or is empty.
    """
    (Z,) = fit(Z=(Z, "..."))
    return Z.clamp_min(0), Z


def relu_backward(dA: ArrayLike, activation_cache: ArrayLike) -> Tensor:
    """dZ = dA where Z > 0, else 0; dA, Z, which is the activation cache, and the result (..., n, m).

    Raises
    ------
    InputError
        If the shapes do not fit together; the message names the argument.
    """
    dA, Z = fit(dA=(dA, "..."), activation_cache=(activation_cache, "..."))
    return dA.where(Z > 0, 0)


def sigmoid(Z: ArrayLike) -> tuple[Tensor, Tensor]:
    """A = 1 / (1 + exp(−Z)), and Z as the activation cache; shapes (..., n, m).

    Raises
    ------
    InputError
        If Z is not an array of float32 or float64, or is empty.
    """
    (Z,) = fit(Z=(Z, "..."))
    return Z.sigmoid(), Z


def sigmoid_backward(dA: ArrayLike, activation_cache: ArrayLike) -> Tensor:
    """dZ = dA ⊙ A ⊙ (1 − A), A = sigmoid(Z); dA, Z, which is the activation cache, and the result (..., n, m).

    Raises
    ------
    InputError
        If the shapes do not fit together; the message names the argument.
    """
    dA, Z = fit(dA=(dA, "..."), activation_cache=(activation_cache, "..."))
    A = Z.sigmoid()
    return dA * A * (1 - A)


def softmax(Z: ArrayLike) -> tuple[Tensor, Tensor]:
    """A = exp(Z) / Σ exp(Z) over the classes (the last axis but one), and Z as the activation cache.

    The largest Z of each example is subtracted first, which changes nothing but keeps exp finite. Shapes
    (..., classes, m).

    Raises
    ------
    InputError
        If Z is not an array of that shape.
    """
    (Z,) = fit(Z=(Z, "classes m"))
    return torch.softmax(Z, -2), Z


def softmax_backward(dA: ArrayLike, activation_cache: ArrayLike) -> Tensor:
    """The Jacobian product of softmax, dZ = A ⊙ (dA − Σ dA ⊙ A), the sum over the classes.

    With the cross-entropy's dA = −Y / A this is the short form A − Y that the output layer uses. dA, Z, which is the
    activation cache, and the result are (..., classes, m).

    Raises
    ------
    InputError
        If the shapes do not fit together; the message names the argument.
    """
    dA, Z = fit(dA=(dA, "classes m"), activation_cache=(activation_cache, "classes m"))
    A = torch.softmax(Z, -2)
    return A * (dA - (dA * A).sum(-2, keepdim=True))


def apply_batchnorm(
    A: ArrayLike,
    epsilon: float = BATCHNORM_EPSILON,
    *,
    epsilon_added_to: str = "variance",
    variance: str = "biased",
    over: str = "examples",
) -> Tensor:
    """Each unit to mean 0 and variance 1 over the m examples: Â = (A − μ) / √(σ² + ε); no scale, no shift.

    The statistics are those of the examples that are given, in training and in evaluation alike; there are no running
    averages. A constant unit becomes 0, to rounding. S. Ioffe and C. Szegedy, *Batch Normalization* (2015), without
    γ and β.

    Parameters
    ----------
    A : (..., n, m)
    epsilon, epsilon_added_to, variance, over : as in `Normalization`; the defaults are the usual form

    Returns
    -------
    Â : (..., n, m)

    Raises
    ------
    InputError
        If A, ε or the form does not fit, or the variance is unbiased and of one example.
    """
    form = Normalization(epsilon=epsilon, epsilon_added_to=epsilon_added_to, variance=variance, over=over)
    (A,) = fit(A=(A, "m" if over == "examples" else "n m"))
    mean, deviation = _mean_and_deviation(A, form)
    return (A - mean) / deviation


def _mean_and_deviation(A: Tensor, form: Normalization) -> tuple[Tensor, Tensor]:
    """μ and √(σ² + ε) in that form, (..., n, 1), or (..., 1, 1) over a whole matrix."""
    axes = (-1,) if form.over == "examples" else (-2, -1)
    mean = A.mean(axes, keepdim=True)
    variance = (A - mean).square().mean(axes, keepdim=True)
    if form.variance == "unbiased":
        count = A.shape[-1] if form.over == "examples" else A.shape[-1] * A.shape[-2]
        if count == 1:
            raise InputError(f"A: expected two or more examples for an unbiased variance, got {tuple(A.shape)}")
        variance = variance * count / (count - 1)
    if form.epsilon_added_to == "deviation":
        return mean, variance.sqrt() + form.epsilon
    return mean, (variance + form.epsilon).sqrt()


def straight_through_batchnorm_backward(dA_norm: ArrayLike, A: ArrayLike, epsilon: float = BATCHNORM_EPSILON) -> Tensor:
    """dA = dÂ, as if nothing had been normalized. Not a derivative; many solutions of the assignment do it.

    dA_norm, A and the result are (..., n, m). epsilon plays no part; the signature is that of the exact derivative.

    Raises
    ------
    InputError
        If the shapes do not fit together; the message names the argument.
    """
    dA_norm, _ = fit(dA_norm=(dA_norm, "m"), A=(A, "m"))
    return dA_norm


def exact_batchnorm_backward(dA_norm: ArrayLike, A: ArrayLike, epsilon: float = BATCHNORM_EPSILON) -> Tensor:
    """The true derivative, dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε), means over the examples.

    μ and σ² depend on every example, hence the two means. Ioffe and Szegedy (2015), section 3.

    Parameters
    ----------
    dA_norm : (..., n, m), the gradient of Â
    A : (..., n, m), the activation before batch norm
    epsilon : that of `apply_batchnorm`

    Returns
    -------
    dA : (..., n, m)

    Raises
    ------
    InputError
        If the shapes do not fit together or ε is not above 0; the message names the argument.
    """
    dA_norm, A = fit(dA_norm=(dA_norm, "m"), A=(A, "m"))
    mean, deviation = _mean_and_deviation(A, Normalization(epsilon=epsilon))
    A_norm = (A - mean) / deviation
    mean_gradient = dA_norm.mean(-1, keepdim=True)
    mean_product = (dA_norm * A_norm).mean(-1, keepdim=True)
    return (dA_norm - mean_gradient - A_norm * mean_product) / deviation


ACTIVATIONS: Mapping[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = MappingProxyType(
    {
        "relu": (relu, relu_backward),
        "sigmoid": (sigmoid, sigmoid_backward),
        "softmax": (softmax, softmax_backward),
    }
)

BATCHNORM_BACKWARD: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "straight_through": straight_through_batchnorm_backward,
        "exact": exact_batchnorm_backward,
    }
)


def linear_activation_forward(
    A_prev: ArrayLike, W: ArrayLike, B: ArrayLike, activation: str
) -> tuple[Tensor, LayerCache]:
    """A = activation(W A_prev + B).

    Parameters
    ----------
    A_prev : (..., in, m)
    W : (..., out, in)
    B : (..., out, 1)
    activation : of `ACTIVATIONS`

    Returns
    -------
    A : (..., out, m)
    cache : a `LayerCache`, for `linear_activation_backward`

    Raises
    ------
    InputError
        If the shapes do not fit together or the activation is unknown; the message names the argument.
    """
    forward, _ = choose(ACTIVATIONS, activation, "activation")
    A_prev, W, B = fit(A_prev=(A_prev, "in m"), W=(W, "out in"), B=(B, "out 1"))
    Z, linear_cache = linear_forward(A_prev, W, B)
    A, activation_cache = forward(Z)
    return A, LayerCache(linear_cache, activation_cache)


def linear_activation_backward(
    dA: ArrayLike, cache: Sequence[Any], activation: str, L2: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """From dA back through the activation and the linear part.

    Parameters
    ----------
    dA : (..., out, m)
    cache : from `linear_activation_forward`
    activation : that of the forward pass
    L2 : λ ≥ 0

    Returns
    -------
    dA_prev : (..., in, m)
    dW : (..., out, in)
    db : (..., out, 1)

    Raises
    ------
    InputError
        If the shapes do not fit together, the activation is unknown or λ is negative; the message names the argument.
    """
    _, backward = choose(ACTIVATIONS, activation, "activation")
    linear_cache, activation_cache, _ = entries("cache", cache, LayerCache)
    dA, Z = fit(dA=(dA, "out m"), **{"cache: activation_cache": (activation_cache, "out m")})
    return linear_backward(backward(dA, Z), linear_cache, L2)


def entries(name: str, cache: Any, kind: Any) -> Any:
    """A cache of that kind, from any tuple or list of its entries."""
    needed = len(kind._fields) - len(kind._field_defaults)
    if not isinstance(cache, tuple | list) or not needed <= len(cache) <= len(kind._fields):
        raise InputError(f"{name}: expected ({', '.join(kind._fields)}), got {what(cache)}")
    return kind(*cache)
