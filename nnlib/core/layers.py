"""One layer, forward and backward: each backward stands under its forward.

Shapes follow the study: activations are features × examples, `A (..., n, m)`, weights `W (..., out, in)`, biases
`b (..., out, 1)`, one-hot labels `Y (..., classes, m)`. The leading axes `...` are empty for one network, or `(R,)` for
R networks side by side; no function here needs to know which. Gradients are of the cost averaged over the m examples,
while `dA` and `dZ` are per example, not yet divided by m, as in the study.

The line above a function says which arrays it takes, without the leading axes. They may be tensors, NumPy arrays or
lists (`nnlib.shapes`); what does not fit is a ValueError that names the argument. Results are tensors.

The formulas are those of I. Goodfellow, Y. Bengio, A. Courville, *Deep Learning* (2016), section 6.5, in the notation
of A. Ng's course.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnlib.arguments import choose, not_negative, positive, what
from nnlib.errors import InputError
from nnlib.shapes import arrays, tensor

BATCHNORM_EPSILON = 1e-8

LINEAR_CACHE = {"A_prev": "in m", "W": "out in", "b": "out 1"}


@arrays(A="in m", W="out in", b="out 1")
def linear_forward(A: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
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
    """
    return W @ A + b, (A, W, b)


@arrays(dZ="out m", cache=LINEAR_CACHE)
def linear_backward(
    dZ: Tensor, cache: tuple[Tensor, Tensor, Tensor], L2: float | Tensor = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of Z = W A + b, with the L2 term of the cost: dW = dZ Aᵀ / m + (λ / m) W.

    Parameters
    ----------
    dZ : (..., out, m)
    cache : (A_prev, W, b) from `linear_forward`
    L2 : λ ≥ 0, one number or one for each network, shape (R,)

    Returns
    -------
    dA_prev : (..., in, m), Wᵀ dZ
    dW : (..., out, in)
    db : (..., out, 1), the mean of dZ over the examples
    """
    A_prev, W, _ = cache
    m = A_prev.shape[-1]
    dW = dZ @ A_prev.mT / m + per_network(L2, W) / m * W
    db = dZ.sum(-1, keepdim=True) / m
    dA_prev = W.mT @ dZ
    return dA_prev, dW, db


@arrays(Z="...")
def relu(Z: Tensor) -> tuple[Tensor, Tensor]:
    """A = max(Z, 0), and Z as the activation cache; shapes (..., n, m)."""
    return Z.clamp_min(0), Z


@arrays(dA="...", activation_cache="...")
def relu_backward(dA: Tensor, activation_cache: Tensor) -> Tensor:
    """dZ = dA where Z > 0, else 0."""
    return dA.where(activation_cache > 0, 0)


@arrays(Z="classes m")
def softmax(Z: Tensor) -> tuple[Tensor, Tensor]:
    """A = exp(Z) / Σ exp(Z) over the classes (the last axis but one), and Z as the activation cache.

    The largest Z of each example is subtracted first, which changes nothing but keeps exp finite.
    """
    return torch.softmax(Z, -2), Z


@arrays(dA="classes m", activation_cache="classes m")
def softmax_backward(dA: Tensor, activation_cache: Tensor) -> Tensor:
    """The Jacobian product of softmax, dZ = A ⊙ (dA − Σ dA ⊙ A), the sum over the classes.

    With the cross-entropy's dA = −Y / A this is the short form A − Y that the output layer uses.
    """
    A, _ = softmax(activation_cache)
    return A * (dA - (dA * A).sum(-2, keepdim=True))


@arrays(A="m")
def apply_batchnorm(A: Tensor, epsilon: float = BATCHNORM_EPSILON) -> Tensor:
    """Each feature to mean 0 and variance 1 over the m examples: Â = (A − μ) / √(σ² + ε); no scale, no shift.

    σ² is the biased variance, the mean square. The statistics are those of the examples at hand, in training and in
    evaluation alike; there are no running averages. A constant feature becomes 0, to rounding. S. Ioffe, C. Szegedy,
    *Batch Normalization* (2015), without γ and β.
    """
    epsilon = positive("epsilon", epsilon)
    centred = A - A.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()


@arrays(dA_norm="m", A="m")
def straight_through_batchnorm_backward(dA_norm: Tensor, A: Tensor, epsilon: float = BATCHNORM_EPSILON) -> Tensor:
    """The study's rule: dA = dÂ, as if the normalisation were not there. Not a derivative."""
    return dA_norm


@arrays(dA_norm="m", A="m")
def exact_batchnorm_backward(dA_norm: Tensor, A: Tensor, epsilon: float = BATCHNORM_EPSILON) -> Tensor:
    """The true derivative, dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε), means over the examples.

    μ and σ² depend on every example, hence the two means. Ioffe and Szegedy (2015), section 3.
    """
    A_norm = apply_batchnorm(A, epsilon)
    deviation = (A.var(-1, correction=0, keepdim=True) + epsilon).sqrt()
    mean_gradient = dA_norm.mean(-1, keepdim=True)
    mean_product = (dA_norm * A_norm).mean(-1, keepdim=True)
    return (dA_norm - mean_gradient - A_norm * mean_product) / deviation


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
    "relu": (relu, relu_backward),
    "softmax": (softmax, softmax_backward),
}

BATCHNORM_BACKWARD: dict[str, Callable[..., Tensor]] = {
    "straight_through": straight_through_batchnorm_backward,
    "exact": exact_batchnorm_backward,
}


@arrays(A_prev="in m", W="out in", B="out 1")
def linear_activation_forward(A_prev: Tensor, W: Tensor, B: Tensor, activation: str) -> tuple[Tensor, Any]:
    """A = activation(W A_prev + B), and the cache (linear cache, activation cache); "relu" or "softmax"."""
    forward, _ = choose(ACTIVATIONS, activation, "activation")
    Z, linear_cache = linear_forward(A_prev, W, B)
    A, activation_cache = forward(Z)
    return A, (linear_cache, activation_cache)


@arrays(dA="out m", cache={"linear_cache": LINEAR_CACHE, "activation_cache": "out m"})
def linear_activation_backward(
    dA: Tensor, cache: Any, activation: str, L2: float | Tensor = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """From dA back through the activation and the linear part: (dA_prev, dW, db)."""
    _, backward = choose(ACTIVATIONS, activation, "activation")
    linear_cache, activation_cache = cache
    return linear_backward(backward(dA, activation_cache), linear_cache, L2)


def per_network(L2: float | Tensor, like: Tensor) -> Tensor:
    """λ as a tensor that multiplies `like (..., out, in)` network by network.

    Raises
    ------
    ValueError
        If λ is negative or not finite, or neither one number nor one for each network.
    """
    strength = strengths(L2, like)
    return strength[..., None, None] if strength.ndim else strength


def strengths(L2: float | Tensor, like: Tensor) -> Tensor:
    """λ as a tensor of shape (), or (R,) where there is one for each network of `like (R, ..., ...)`."""
    if isinstance(L2, float | int):
        return torch.tensor(not_negative("L2", L2), dtype=like.dtype, device=like.device)
    strength = tensor("L2", L2)
    if strength.dtype is torch.bool:
        raise InputError(f"L2: expected numbers, got {what(L2)}")
    strength = strength.to(like)
    if strength.numel() == 1:
        strength = strength.reshape(())
    elif like.ndim > 1 and strength.shape != like.shape[:-2]:
        raise InputError(f"L2: expected one number, or {tuple(like.shape[:-2])}, got {tuple(strength.shape)}")
    if not bool(((strength >= 0) & strength.isfinite()).all()):
        raise InputError(f"L2: expected finite numbers that are not negative, got {strength.tolist()}")
    return strength
