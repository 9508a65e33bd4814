"""What finished runs are asked afterwards: their weights, what they read and misread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nnlib.core.model import Parameters, initialize_parameters, l_model_forward
from nnlib.engine.run import Run


def weight_table(without: Run, with_l2: Run) -> pd.DataFrame:
    """The study's weight table, a row for each replica and layer: mean and std of W without and with L2, and the mean
    of their difference, W − W_L2; missing where weights are not finite."""
    rows = []
    for name in (name for name in without.parameters if name[0] == "W"):
        plain, shrunk = without.parameters[name].double(), with_l2.parameters[name].double()
        columns = {
            "mean_without": plain.mean((-2, -1)),
            "mean_with": shrunk.mean((-2, -1)),
            "std_without": plain.std((-2, -1), correction=0),
            "std_with": shrunk.std((-2, -1), correction=0),
            "mean_difference": (plain - shrunk).mean((-2, -1)),
        }
        rows.append(
            pd.DataFrame(
                {"layer": name, "replica": range(without.replicas)}
                | {key: value.numpy() for key, value in columns.items()}
            )
        )
    return pd.concat(rows, ignore_index=True).replace([np.inf, -np.inf], np.nan)


def weight_changes(parameters: Parameters, *, rule: str, seed: int) -> Parameters:
    """What training changed in the weights of one network: each W less the first one, made anew by rule and seed."""
    weights = {name: W for name, W in parameters.items() if name[0] == "W"}
    layers_dims = [parameters["W1"].shape[1], *(W.shape[0] for W in weights.values())]
    first = initialize_parameters(layers_dims, rule=rule, seed=seed, dtype=parameters["W1"].dtype)
    return {name: W - first[name] for name, W in weights.items()}


def confusion_matrix(X: Tensor, Y: Tensor, parameters: Parameters, *, use_batchnorm: bool) -> np.ndarray:
    """(classes, classes), mean over the networks: how many images of the row's class are read as the column's.
    A network whose output is not finite reads nothing and is left out."""
    labels, guesses, confidences = _guesses(X, Y, parameters, use_batchnorm)
    guesses = guesses[confidences.isfinite().all(-1)]
    classes = Y.shape[0]
    pairs = (labels * classes + guesses).flatten()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).numpy() / max(1, len(guesses))


def confident_mistakes(X: Tensor, Y: Tensor, parameters: Parameters, *, how_many: int) -> dict[str, Any]:
    """The images that one network gets wrong with the highest probability: images (k, 28, 28), labels, guesses,
    confidences. None of a network whose output is not finite."""
    labels, guesses, confidences = _guesses(X, Y, parameters, use_batchnorm=False)
    wrong = ((labels != guesses) & confidences.isfinite()).nonzero().flatten()
    chosen = wrong[confidences[wrong].argsort(descending=True, stable=True)[:how_many]]
    side = round(X.shape[0] ** 0.5)
    return {
        "images": X[:, chosen].T.reshape(-1, side, side).numpy(),
        "labels": labels[chosen].tolist(),
        "guesses": guesses[chosen].tolist(),
        "confidences": confidences[chosen].tolist(),
    }


def readings(X: Tensor, Y: Tensor, parameters: Parameters) -> pd.DataFrame:
    """What one network reads each image as: digit, guess; no row where its output is not finite."""
    labels, guesses, confidences = _guesses(X, Y, parameters, use_batchnorm=False)
    read = confidences.isfinite()
    return pd.DataFrame({"digit": labels[read].numpy(), "guess": guesses[read].numpy()})


def _guesses(X: Tensor, Y: Tensor, parameters: Parameters, use_batchnorm: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (m,), and for each network the most probable class and its probability, (..., m)."""
    AL, _ = l_model_forward(X, parameters, use_batchnorm)
    confidences, guesses = AL.max(-2)
    return Y.argmax(0), guesses, confidences
