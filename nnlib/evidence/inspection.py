"""What finished runs are asked afterwards: their weights, what they predict and get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlib.core.model import Parameters, initialize_parameters, l_model_forward
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


def weight_changes(parameters: Parameters, settings: Settings, *, seed: int) -> Parameters:
    """What training changed in the weights of one network: each W less the initial one, made anew from the seed."""
    initial = initialize_parameters(
        settings.layers_dims, initialization=settings.initialization, seed=seed, dtype=parameters["W1"].dtype
    )
    return {name: W - initial[name] for name, W in parameters.items() if name.startswith("W")}


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


def _predictions(X: Tensor, Y: Tensor, parameters: Parameters, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (m,), and for each network the most probable class and its probability, (..., m)."""
    AL, _ = l_model_forward(X, parameters, settings.batchnorm, normalization=settings.normalization)
    probabilities, predictions = AL.max(-2)
    return Y.argmax(0), predictions, probabilities
