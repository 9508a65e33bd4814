"""The network: from initial weights to a prediction, L layers of linear → activation (→ batch norm).

Parameters are a dictionary W1, b1, ..., WL, bL; hidden layers are ReLU unless asked otherwise, the output layer is
softmax. Shapes, leading axes and the assignment's names are those of `nnlib.core.layers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnlib.arrays import ArrayLike, floats, precision
from nnlib.core.layers import (
    BATCHNORM_BACKWARD,
    LayerCache,
    apply_batchnorm,
    entries,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
)
from nnlib.core.optimizers import OPTIMIZERS, Rates
from nnlib.core.seeds import Seeds, initial_normals
from nnlib.core.settings import (
    INITIALIZATIONS,
    Activation,
    Initialization,
    L2Strength,
    LayersDims,
    LearningRate,
    Momentum,
    Normalization,
    OptimizerName,
    check_derivative,
)
from nnlib.errors import InputError
from nnlib.records import Seed, SeedList, checked, what
from nnlib.validation import check_one_hot, choose, fit, layers, naming, network

Parameters = dict[str, Tensor]
# What an optimizer keeps of each parameter from one step to the next.
OptimizerState = dict[str, tuple[Tensor, ...]]

OUTPUT = "softmax"
BATCHNORMS = {"none": None, **BATCHNORM_BACKWARD}


def initialize_parameters(
    layer_dims: Sequence[int],
    *,
    initialization: str = "he_fan_in",
    seed: int | Seeds | Sequence[int] = 0,
    dtype: torch.dtype = torch.float32,
) -> Parameters:
    """Initial weights W ~ N(0, σ²) and biases 0.

    Parameters
    ----------
    layer_dims : units of every layer, the input first, for example [784, 20, 7, 5, 10]
    initialization : of `INITIALIZATIONS`, which has σ: "he_fan_in", σ² = 2 / in, is that of He et al. (2015)
    seed : of the random numbers, or `Seeds` that hold it; a list of R seeds gives R networks, W (R, out, in), each of
        which depends on its own seed alone
    dtype : torch.float32 or torch.float64; the random numbers are the same, rounded for float32

    Returns
    -------
    W1 (..., out, in), b1 (..., out, 1), W2, b2, ...

    Raises
    ------
    InputError
        If initialization or dtype is unknown, a seed is negative, or there are under two layers or an empty one.
    """
    layer_dims = checked("layer_dims", layer_dims, LayersDims)
    deviation = INITIALIZATIONS[checked("initialization", initialization, Initialization)]
    dtype = precision("dtype", dtype)
    if isinstance(seed, Seeds):
        seed = seed.weights
    if getattr(seed, "ndim", 0) or (isinstance(seed, Sequence) and not isinstance(seed, str | bytes)):
        networks = [
            initialize_parameters(layer_dims, initialization=initialization, seed=each, dtype=dtype)
            for each in checked("seed", seed, SeedList)
        ]
        return {name: torch.stack([network[name] for network in networks]) for name in networks[0]}
    shapes = [(fan_out, fan_in) for fan_in, fan_out in itertools.pairwise(layer_dims)]
    parameters: Parameters = {}
    for layer, normals in enumerate(initial_normals(checked("seed", seed, Seed), shapes), start=1):
        fan_out, fan_in = normals.shape
        parameters[f"W{layer}"] = torch.from_numpy(normals * deviation(fan_in, fan_out)).to(dtype)
        parameters[f"b{layer}"] = torch.from_numpy(np.zeros((fan_out, 1))).to(dtype)
    return parameters


def l_model_forward(
    X: ArrayLike,
    parameters: Mapping[str, ArrayLike],
    batchnorm: str = "none",
    *,
    normalization: Normalization = Normalization(),
    activation: str = "relu",
) -> tuple[Tensor, list[LayerCache]]:
    """Forward through all layers.

    Parameters
    ----------
    X : (..., features, m), or (features, m) for all networks alike
    parameters : W1, b1, ..., WL, bL
    batchnorm : "none"; with "exact" or "straight_through", which differ in the backward pass alone, the activations of
        every hidden layer are normalized over the m examples that are given
    normalization : the `Normalization` to use
    activation : of the hidden layers, "relu" or "sigmoid"

    Returns
    -------
    AL : (..., classes, m) probabilities
    caches : for each layer a `LayerCache`

    Raises
    ------
    InputError
        If X and the layers do not fit together, or batchnorm or activation is unknown.
    """
    choose(BATCHNORMS, batchnorm, "batchnorm")
    activation = checked("activation", activation, Activation)
    form = dict(checked("normalization", normalization, Normalization))
    A, parameters = network(X, parameters)
    L = layers(parameters)
    caches = []
    for layer in range(1, L):
        A, cache = linear_activation_forward(A, parameters[f"W{layer}"], parameters[f"b{layer}"], activation)
        if batchnorm != "none":
            cache = cache._replace(A=A)
            A = apply_batchnorm(A, **form)
        caches.append(cache)
    AL, cache = linear_activation_forward(A, parameters[f"W{L}"], parameters[f"b{L}"], OUTPUT)
    return AL, [*caches, cache]


def l_model_backward(
    AL: ArrayLike,
    Y: ArrayLike,
    caches: Sequence[Sequence[Any]],
    L2: float = 0.0,
    *,
    batchnorm: str = "exact",
    normalization: Normalization = Normalization(),
    activation: str = "relu",
) -> dict[str, Tensor]:
    """Backward through all layers, from the output's short form dZ = AL − Y.

    Parameters
    ----------
    AL, Y : (..., classes, m) probabilities and one-hot labels
    caches : from `l_model_forward`
    L2 : λ
    batchnorm : the derivative of batch norm, "exact" or "straight_through"; plays no part where the caches have no
        batch norm
    normalization, activation : those of the forward pass

    Returns
    -------
    grads : dW1, db1, ..., dWL, dbL, and dA0, ..., dA(L-1), the gradients of each layer's input

    Raises
    ------
    InputError
        If Y or the caches do not fit AL, λ is negative, batchnorm or activation is unknown, or batch norm has no
        derivative of that form.
    """
    choose(BATCHNORMS, batchnorm, "batchnorm")
    activation = checked("activation", activation, Activation)
    form, L2 = checked("normalization", normalization, Normalization), checked("L2", L2, L2Strength)
    AL, Y = fit(AL=(AL, "classes m"), Y=(Y, "classes m"))
    if not isinstance(caches, Sequence) or not caches:
        raise InputError(f"caches: expected those of l_model_forward, got {what(caches)}")
    grads: dict[str, Tensor] = {}
    L = len(caches)
    for layer in range(L, 0, -1):
        with naming(f"caches: layer {layer}"):
            cache = entries("cache", caches[layer - 1], LayerCache)
            if layer == L:
                dA_prev, dW, db = linear_backward(AL - Y, cache.linear_cache, L2)
            else:
                dA = grads[f"dA{layer}"]
                if cache.A is not None:
                    dA = _through_batchnorm(dA, cache.A, batchnorm, form)
                dA_prev, dW, db = linear_activation_backward(dA, cache, activation, L2)
        grads[f"dA{layer - 1}"], grads[f"dW{layer}"], grads[f"db{layer}"] = dA_prev, dW, db
    return grads


def _through_batchnorm(dA_norm: Tensor, A: Tensor, batchnorm: str, form: Normalization) -> Tensor:
    if batchnorm == "none":
        raise InputError("expected no batch norm, since batchnorm is 'none', got the activation before one")
    check_derivative(batchnorm, form)
    return BATCHNORM_BACKWARD[batchnorm](dA_norm, A, form.epsilon)


def compute_cost(
    AL: ArrayLike, Y: ArrayLike, parameters: Mapping[str, ArrayLike] | None = None, L2: float = 0.0
) -> Tensor:
    """cost = −1/m Σ y log(ŷ) + λ/(2m) Σ W², m the number of examples in Y.

    Exact about what it is given: a true class of probability 0 costs infinity. Where the pre-activation ZL is at hand,
    `compute_cost_from_logits` gives the finite cost that rounding hides here.

    Parameters
    ----------
    AL, Y : (..., classes, m) probabilities and one-hot labels
    parameters : the weights for the L2 term; may be left out when L2 is 0
    L2 : λ

    Returns
    -------
    One cost for each network, shape (...); a 0-d tensor for one.

    Raises
    ------
    InputError
        If Y does not fit AL, λ is negative, or λ is not 0 and there are no parameters.
    """
    AL, Y = fit(AL=(AL, "classes m"), Y=(Y, "classes m"))
    return _cost(-torch.special.xlogy(Y, AL), parameters, L2)


def compute_cost_from_logits(
    ZL: ArrayLike, Y: ArrayLike, parameters: Mapping[str, ArrayLike] | None = None, L2: float = 0.0
) -> Tensor:
    """The same cost from the output layer's Z: log ŷ = Z − log Σ exp(Z), which no rounding turns into −∞.

    Parameters
    ----------
    ZL, Y : (..., classes, m) the output layer's Z and one-hot labels
    parameters, L2 : as in `compute_cost`

    Returns
    -------
    One cost for each network, shape (...); a 0-d tensor for one.

    Raises
    ------
    InputError
        If Y does not fit ZL, λ is negative, or λ is not 0 and there are no parameters.
    """
    ZL, Y = fit(ZL=(ZL, "classes m"), Y=(Y, "classes m"))
    # 0 · (−∞) would be NaN; the term of a class with y = 0 is defined as 0.
    return _cost((-Y * torch.log_softmax(ZL, -2)).masked_fill(Y == 0, 0), parameters, L2)


def _cost(losses: Tensor, parameters: Mapping[str, ArrayLike] | None, L2: float) -> Tensor:
    m = losses.shape[-1]
    # Divided before it is added up, so that a sum too large for float32 may still have a mean.
    cross_entropy = (losses.sum(-2) / m).sum(-1)
    L2 = checked("L2", L2, L2Strength)
    if parameters is None and L2:
        raise InputError(f"parameters: expected the weights, since L2 is {L2}, got None")
    if parameters is None or not L2:
        return cross_entropy
    squares = sum_squared_weights({name: value.double() for name, value in _weights(parameters).items()})
    if squares.ndim and cross_entropy.ndim and squares.shape != cross_entropy.shape:
        networks = tuple(cross_entropy.shape)
        raise InputError(f"parameters: expected the weights of {networks} networks, got {tuple(squares.shape)}")
    return cross_entropy + (L2 / (2 * m) * squares).to(losses.dtype)


def sum_squared_weights(parameters: Mapping[str, ArrayLike]) -> Tensor:
    """Σ W² over all layers, biases left out: one number for each network, shape (...).

    Raises
    ------
    InputError
        If there are no weights, or they are of different numbers of networks.
    """
    squares = [W.square().sum((-2, -1)) for W in _weights(parameters).values()]
    return torch.stack(torch.broadcast_tensors(*squares)).sum(0)


def _weights(parameters: Any) -> Parameters:
    """W1, W2, ... as tensors."""
    if not isinstance(parameters, Mapping) or not any(str(name).startswith("W") for name in parameters):
        raise InputError(f"parameters: expected a dictionary with W1, W2, ..., got {what(parameters)}")
    weights = {name: W for name, W in parameters.items() if str(name).startswith("W")}
    named = {f"parameters: {name}": (W, f"out{k} in{k}") for k, (name, W) in enumerate(weights.items(), start=1)}
    return dict(zip(weights, fit(**named), strict=True))


@torch.no_grad()
def update_parameters(
    parameters: Mapping[str, ArrayLike],
    grads: Mapping[str, ArrayLike],
    learning_rate: float,
    *,
    optimizer: str = "gradient_descent",
    momentum: float = 0.9,
    state: OptimizerState | None = None,
) -> Parameters:
    """One step of every W and b, θ − α dθ unless another optimizer is chosen, as a new dictionary.

    Parameters
    ----------
    parameters, grads : W1, b1, ... and dW1, db1, ...
    learning_rate : α
    optimizer : of `nnlib.core.optimizers.OPTIMIZERS`
    momentum : μ, of the optimizer "momentum"
    state : what the optimizer keeps, {} before the first step; it is changed. Without it each step is a first one.

    Raises
    ------
    InputError
        If α is not a finite number above 0, the optimizer is unknown, or a gradient is missing or of another shape.
    """
    rates = Rates(checked("learning_rate", learning_rate, LearningRate), checked("momentum", momentum, Momentum))
    update, arrays, _ = OPTIMIZERS[checked("optimizer", optimizer, OptimizerName)]
    state = {} if state is None else state
    if not isinstance(state, dict):
        raise InputError(f"state: expected a dictionary, {{}} before the first step, got {what(state)}")
    for argument, mapping in (("parameters", parameters), ("grads", grads)):
        if not isinstance(mapping, Mapping):
            raise InputError(f"{argument}: expected a dictionary of arrays, got {what(mapping)}")
    if not parameters:
        raise InputError("parameters: expected one array or more, got none")
    updated = {}
    for name, value in parameters.items():
        if f"d{name}" not in grads:
            raise InputError(f"grads: expected d{name}, got {', '.join(map(str, grads)) or 'none'}")
        value, grad = floats({f"parameters: {name}": value, f"grads: d{name}": grads[f"d{name}"]})
        if value.shape != grad.shape:
            raise InputError(f"grads: expected d{name} {tuple(value.shape)}, got {tuple(grad.shape)}")
        updated[name] = value.clone()
        kept = state.setdefault(name, tuple(torch.zeros_like(value) for _ in range(arrays)))
        if [array.shape for array in kept] != arrays * [value.shape]:
            raise InputError(f"state: expected that of the optimizer {optimizer} for these parameters, got another")
        update(updated[name], grad, kept, rates)
    return updated


def predict(
    X: ArrayLike,
    Y: ArrayLike,
    parameters: Mapping[str, ArrayLike],
    *,
    batchnorm: str = "none",
    normalization: Normalization = Normalization(),
    activation: str = "relu",
) -> Tensor:
    """Accuracy, as the assignment has it: the share of examples whose most probable class is the label.

    `accuracy` is the same for many networks over a large set, faster and with the same bits on every processor.

    Parameters
    ----------
    X, Y : (..., features, m) inputs and (..., classes, m) one-hot labels, or without the first axes for all networks
        alike
    parameters : W1, b1, ..., WL, bL
    batchnorm, normalization, activation : as in `l_model_forward`

    Returns
    -------
    A fraction from 0 to 1 for each network, float64, shape (...); a 0-d tensor for one. NaN for a network whose output
    is not finite: it predicts nothing.

    Raises
    ------
    InputError
        If X, Y and the layers do not fit together, Y is not one-hot, or batchnorm or activation is unknown.
    """
    X, parameters, labels = network(X, parameters, Y)
    check_one_hot("Y", labels)
    AL, _ = l_model_forward(X, parameters, batchnorm, normalization=normalization, activation=activation)
    correct = (AL.argmax(-2) == labels.argmax(-2)).double().mean(-1)
    return correct.where(AL.isfinite().flatten(-2).all(-1), torch.nan)
