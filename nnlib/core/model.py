"""The network: from first weights to a prediction, L layers of linear → activation (→ batch norm).

Parameters are a dictionary W1, b1, ..., WL, bL; hidden layers are ReLU, the output layer is softmax. Shapes and leading
axes as in `nnlib.core.layers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from nnlib.arguments import choose, one_of, positive, seed_or_seeds, takes, truth, units
from nnlib.core.layers import (
    BATCHNORM_BACKWARD,
    apply_batchnorm,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
    strengths,
)
from nnlib.core.seeds import first_normals
from nnlib.errors import InputError
from nnlib.shapes import arrays, door, forward_pass, labelled_network, network, precision, weights_of, with_gradients

Parameters = dict[str, Tensor]

# The standard deviation of a layer's first weights, from its fan-in and fan-out.
INITIALIZATIONS: dict[str, Callable[[int, int], float]] = {
    "he_fan_out": lambda fan_in, fan_out: sqrt(2 / fan_out),
    "he_fan_in": lambda fan_in, fan_out: sqrt(2 / fan_in),
    "xavier": lambda fan_in, fan_out: sqrt(2 / (fan_in + fan_out)),
}


@takes(layer_dims=units, rule=one_of(INITIALIZATIONS), seed=seed_or_seeds, dtype=precision)
def initialize_parameters(
    layer_dims: Sequence[int],
    *,
    rule: str = "he_fan_out",
    seed: int | Sequence[int] = 0,
    dtype: torch.dtype = torch.float32,
) -> Parameters:
    """First weights W ~ N(0, σ²) and biases 0.

    Parameters
    ----------
    layer_dims : units of every layer, the input first, for example [784, 20, 7, 5, 10]
    rule : "he_fan_out", σ² = 2 / out, is the study's; "he_fan_in", σ² = 2 / in, is He et al. (2015); "xavier",
        σ² = 2 / (in + out), is Glorot and Bengio (2010)
    seed : of the random numbers; a sequence of R seeds gives R networks, W (R, out, in), each of which depends on its
        own seed alone
    dtype : torch.float32 or torch.float64; the random numbers are the same, rounded for float32

    Returns
    -------
    W1 (..., out, in), b1 (..., out, 1), W2, b2, ...

    Raises
    ------
    ValueError
        If the rule is unknown, a seed is negative, or there are fewer than two layers or an empty one.
    """
    deviation = INITIALIZATIONS[rule]
    if isinstance(seed, Sequence):
        networks = [initialize_parameters(layer_dims, rule=rule, seed=one, dtype=dtype) for one in seed]
        return {name: torch.stack([network[name] for network in networks]) for name in networks[0]}
    shapes = [(fan_out, fan_in) for fan_in, fan_out in itertools.pairwise(layer_dims)]
    parameters: Parameters = {}
    for layer, normals in enumerate(first_normals(seed, shapes), start=1):
        fan_out, fan_in = normals.shape
        parameters[f"W{layer}"] = torch.from_numpy(normals * deviation(fan_in, fan_out)).to(dtype)
        parameters[f"b{layer}"] = torch.zeros(fan_out, 1, dtype=dtype)
    return parameters


@door(network, 2)
def l_model_forward(X: Tensor, parameters: Parameters, use_batchnorm: bool = False) -> tuple[Tensor, list[Any]]:
    """Forward through all layers.

    Parameters
    ----------
    X : (..., features, m), or (features, m) for all networks alike
    parameters : W1, b1, ..., WL, bL
    use_batchnorm : normalise the activation of every hidden layer over the m examples at hand

    Returns
    -------
    AL : (..., classes, m) probabilities
    caches : for each layer (linear cache, activation cache), and the activation before batch norm as a third where
        it was normalised

    Raises
    ------
    ValueError
        If X and the layers do not fit together.
    """
    use_batchnorm = truth("use_batchnorm", use_batchnorm)
    L = len(parameters) // 2
    A, caches = X, []
    for layer in range(1, L):
        A, cache = linear_activation_forward(A, parameters[f"W{layer}"], parameters[f"b{layer}"], "relu")
        if use_batchnorm:
            cache = (*cache, A)
            A = apply_batchnorm(A)
        caches.append(cache)
    AL, cache = linear_activation_forward(A, parameters[f"W{L}"], parameters[f"b{L}"], "softmax")
    return AL, [*caches, cache]


@door(forward_pass, 3)
def l_model_backward(
    AL: Tensor, Y: Tensor, caches: list[Any], L2: float | Tensor = 0.0, *, batchnorm_rule: str = "straight_through"
) -> dict[str, Tensor]:
    """Backward through all layers, from the output's short form dZ = AL − Y.

    Parameters
    ----------
    AL, Y : (..., classes, m) probabilities and one-hot labels
    caches : from `l_model_forward`
    L2 : λ, a number or one for each network
    batchnorm_rule : "straight_through", the study's, or "exact"; without batch norm in the caches it plays no part

    Returns
    -------
    grads : dW1, db1, ..., dWL, dbL, and dA0, ..., dA(L-1), the gradients of each layer's input

    Raises
    ------
    ValueError
        If Y or the caches do not fit AL, λ is negative, or the rule is unknown.
    """
    batchnorm_backward = choose(BATCHNORM_BACKWARD, batchnorm_rule, "batchnorm_rule")
    grads: dict[str, Tensor] = {}
    L = len(caches)
    linear_cache, _ = caches[-1]
    grads[f"dA{L - 1}"], grads[f"dW{L}"], grads[f"db{L}"] = linear_backward(AL - Y, linear_cache, L2)
    for layer in range(L - 1, 0, -1):
        dA = grads[f"dA{layer}"]
        linear_cache, activation_cache, *normalised = caches[layer - 1]
        for A in normalised:
            dA = batchnorm_backward(dA, A)
        grads[f"dA{layer - 1}"], grads[f"dW{layer}"], grads[f"db{layer}"] = linear_activation_backward(
            dA, (linear_cache, activation_cache), "relu", L2
        )
    return grads


@arrays(AL="classes m", Y="classes m")
def compute_cost(AL: Tensor, Y: Tensor, parameters: Parameters | None = None, L2: float | Tensor = 0.0) -> Tensor:
    """cost = −1/m Σ y log(ŷ) + λ/(2m) Σ W², m the number of examples in Y.

    Exact about what it is given: a true class of probability 0 costs infinity. Where the pre-activation ZL is at hand,
    `compute_cost_from_logits` gives the finite cost that rounding hides here.

    Parameters
    ----------
    AL, Y : (..., classes, m) probabilities and one-hot labels
    parameters : the weights for the L2 term; may be left out when L2 is 0
    L2 : λ, a number or one for each network

    Returns
    -------
    One cost for each network, shape (...); a 0-d tensor for one.

    Raises
    ------
    ValueError
        If Y does not fit AL, λ is negative, or λ is not 0 and there are no parameters.
    """
    return _cost(-torch.special.xlogy(Y, AL), parameters, L2)


@arrays(ZL="classes m", Y="classes m")
def compute_cost_from_logits(
    ZL: Tensor, Y: Tensor, parameters: Parameters | None = None, L2: float | Tensor = 0.0
) -> Tensor:
    """The same cost from the output layer's Z: log ŷ = Z − log Σ exp(Z), which no rounding turns into −∞."""
    # Where y is 0 so is the term, be the logarithm as far below 0 as it likes.
    return _cost((-Y * torch.log_softmax(ZL, -2)).masked_fill(Y == 0, 0), parameters, L2)


def _cost(losses: Tensor, parameters: Parameters | None, L2: float | Tensor) -> Tensor:
    m = losses.shape[-1]
    # Divided before it is added up, so that a sum too large for float32 may still have a mean.
    cross_entropy = (losses.sum(-2) / m).sum(-1)
    strength = strengths(L2, losses)
    if parameters is None:
        if bool(strength.any()):
            raise InputError(f"parameters: expected the weights, since L2 is {L2}, got None")
        return cross_entropy
    squares = _squares([W.double() for W in weights_of(parameters)])
    if squares.ndim and cross_entropy.ndim and squares.shape != cross_entropy.shape:
        networks = tuple(cross_entropy.shape)
        raise InputError(f"parameters: expected the weights of {networks} networks, got {tuple(squares.shape)}")
    # Without λ the weights cost nothing, were their squares infinite.
    decay = (strength.double() / (2 * m) * squares).masked_fill(strength == 0, 0)
    return cross_entropy + decay.to(losses.dtype)


def sum_squared_weights(parameters: Parameters) -> Tensor:
    """Σ W² over all layers, biases left out: one number for each network.

    Raises
    ------
    ValueError
        If there are no weights, or not of equally many networks.
    """
    return _squares(weights_of(parameters))


def _squares(weights: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*[W.square().sum((-2, -1)) for W in weights])).sum(0)


@torch.no_grad()
def update_parameters(parameters: Parameters, grads: dict[str, Tensor], learning_rate: float) -> Parameters:
    """Plain gradient descent, θ − α dθ for every W and b, as a new dictionary.

    Raises
    ------
    ValueError
        If α is not a finite number above 0, or a gradient is missing or of another shape.
    """
    learning_rate = positive("learning_rate", learning_rate)
    return {name: value - learning_rate * grad for name, value, grad in with_gradients(parameters, grads)}


@door(labelled_network, 3)
def predict(X: Tensor, Y: Tensor, parameters: Parameters, *, use_batchnorm: bool = False) -> Tensor:
    """Accuracy: the share of examples whose most probable class is the label.

    Returns
    -------
    A fraction from 0 to 1 for each network, float64, shape (...); a 0-d tensor for one. NaN for a network whose output
    is not finite: it predicts nothing.
    """
    AL, _ = l_model_forward(X, parameters, use_batchnorm)
    correct = (AL.argmax(-2) == Y.argmax(-2)).double().mean(-1)
    return correct.where(AL.isfinite().flatten(-2).all(-1), torch.nan)
