"""`accuracy`: `predict` of many networks over a large set, by the compiled engine."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nnlib.arrays import ArrayLike
from nnlib.core.model import Parameters
from nnlib.core.settings import Normalization, Settings
from nnlib.errors import InputError
from nnlib.records import what
from nnlib.replicas.prepared import PreparedSet
from nnlib.replicas.train import cores
from nnlib.validation import network


def accuracy(
    X: ArrayLike,
    Y: ArrayLike,
    parameters: Mapping[str, ArrayLike],
    *,
    batchnorm: str = "none",
    normalization: Normalization = Normalization(),
    activation: str = "relu",
) -> Tensor:
    """`predict` of many networks over a large set, the same bits on every processor.

    Parameters
    ----------
    X, Y : (features, m) inputs and (classes, m) one-hot labels
    parameters : of R networks, W1 (R, out, in), ...
    batchnorm, normalization, activation : as they were trained

    Returns
    -------
    (R,) fractions, float64; NaN for a network whose output is not finite.

    Raises
    ------
    InputError
        If an argument does not fit; the message names it.
    """
    inputs, tensors, labels = network(X, parameters, Y)
    for name, array in (("X", inputs), ("Y", labels)):
        if array.ndim != 2:
            raise InputError(f"{name}: expected two axes, the same examples for all networks, got {what(array)}")
    if tensors["W1"].ndim != 3:
        raise InputError(f"parameters: expected W1 (R, out, in) of R networks, got {tuple(tensors['W1'].shape)}")
    dims = (len(inputs), *(tensors[f"b{layer}"].shape[-2] for layer in range(1, len(tensors) // 2 + 1)))
    settings = Settings(layers_dims=dims, batchnorm=batchnorm, normalization=normalization, activation=activation)
    # What has no first axis is the same in all networks; NumPy takes no part in autograd.
    R = len(tensors["W1"])
    tensors = {name: value.detach().cpu().expand(R, -1, -1) for name, value in tensors.items()}
    return ensemble_accuracy(PreparedSet((inputs, labels), dims), tensors, settings)


def ensemble_accuracy(examples: PreparedSet, parameters: Parameters, settings: Settings) -> Tensor:
    """`accuracy` of R networks that were trained with these settings, over a set that is prepared once; (R,)."""
    from nnlib.engine.compiled import accuracies

    return torch.tensor(accuracies(examples.csr, parameters, settings, cores()), dtype=torch.float64, device="cpu")
