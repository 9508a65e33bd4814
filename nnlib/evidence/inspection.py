"""What finished runs are asked afterwards: their weights, what they predict and get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlib.core.model import Parameters, l_model_backward, l_model_forward
from nnlib.core.settings import Settings
from nnlib.engine.run import Run


def weight_differences(without: Run, with_l2: Run) -> Parameters:
    """W − W_L2 of every layer, replica by replica, (R, out, in) each."""
    return {name: W - with_l2.parameters[name] for name, W in without.parameters.items() if name.startswith("W")}


def mean_differences(differences: Parameters) -> pd.DataFrame:
    """The mean of W − W_L2, a row for each replica and layer; missing where weights are not finite."""
    tables = [
        pd.DataFrame({"layer": name, "replica": range(len(W)), "mean_difference": W.double().mean((-2, -1)).numpy()})
        for name, W in differences.items()
    ]
    return pd.concat(tables, ignore_index=True).replace([np.inf, -np.inf], np.nan)


def step_cosine(
    parameters: Parameters, examples: tuple[Tensor, Tensor], settings: Settings, layer: int | None = None
) -> float:
    """The cosine between a layer's weights and biases and the gradient step of the cross-entropy that changes them.

    After ReLU, batch norm gives the same output if W and b of the layer are multiplied by the same positive factor. In
    that direction the true derivative is therefore 0, but for ε, and so is the cosine. Where it is above 0, steps make
    the layer longer.

    Parameters
    ----------
    parameters : of one network, W1 (out, in), b1 (out, 1), ...
    examples : (X, Y), X (features, m) and one-hot Y (classes, m), of which the gradient is taken
    settings : the activation, the batch norm, its derivative and its form
    layer : from 1; None for the last hidden layer

    Returns
    -------
    From −1 to 1; NaN where the gradient is 0, or there is no hidden layer.
    """
    layer = len(parameters) // 2 - 1 if layer is None else layer
    if not layer:
        return np.nan
    X, Y = examples
    parameters = _doubles(parameters)
    AL, caches = l_model_forward(X.double(), parameters, **settings.operations())
    grads = l_model_backward(AL, Y.double(), caches, **settings.operations())
    weights, gradient = (
        np.concatenate([values[f"{name}{layer}"].numpy().ravel() for name in names])
        for values, names in ((parameters, ("W", "b")), (grads, ("dW", "db")))
    )
    if not gradient.any():
        return np.nan
    return -float(weights @ gradient / np.linalg.norm(weights) / np.linalg.norm(gradient))


def confusion_matrix(X: Tensor, Y: Tensor, parameters: Parameters, settings: Settings) -> np.ndarray:
    """(classes, classes), mean over the networks: how many images of the row's class are predicted as the column's.
    A network whose output is not finite predicts nothing and is left out."""
    labels, predictions, probabilities = _predictions(X, Y, parameters, settings)
    predictions = predictions[probabilities.isfinite().all(-1)]
    classes = Y.shape[0]
    pairs = (labels * classes + predictions).flatten()
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    return counts.numpy() / max(1, len(predictions))


def confident_mistakes(
    X: Tensor, Y: Tensor, parameters: Parameters, settings: Settings, *, how_many: int
) -> dict[str, Any]:
    """The images that one network gets wrong with the highest probability: images (k, 28, 28), labels, predictions,
    probabilities. None of a network whose output is not finite."""
    labels, predictions, probabilities = _predictions(X, Y, parameters, settings)
    wrong = ((labels != predictions) & probabilities.isfinite()).nonzero().flatten()
    chosen = wrong[probabilities[wrong].argsort(descending=True, stable=True)[:how_many]]
    side = round(X.shape[0] ** 0.5)
    return {
        "images": X[:, chosen].T.reshape(-1, side, side).numpy(),
        "labels": labels[chosen].tolist(),
        "predictions": predictions[chosen].tolist(),
        "probabilities": probabilities[chosen].tolist(),
    }


def prediction_table(X: Tensor, Y: Tensor, parameters: Parameters, settings: Settings) -> pd.DataFrame:
    """What one network predicts for each image: digit, prediction; no row where its output is not finite."""
    labels, predictions, probabilities = _predictions(X, Y, parameters, settings)
    known = probabilities.isfinite()
    return pd.DataFrame({"digit": labels[known].numpy(), "prediction": predictions[known].numpy()})


def _doubles(parameters: Parameters) -> Parameters:
    return {name: value.double() for name, value in parameters.items()}


def _predictions(X: Tensor, Y: Tensor, parameters: Parameters, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (m,), and for each network the most probable class and its probability, (..., m).

    In float64: in float32 the last digits of a product, which depend on the processor, could change a prediction.
    """
    AL, _ = l_model_forward(X.double(), _doubles(parameters), **settings.operations())
    probabilities, predictions = AL.max(-2)
    return Y.argmax(0), predictions, probabilities
