"""What a page needs to run trained networks by itself: their numbers and a few test images, as base64 text."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nnlib.layers import BATCHNORM_EPSILON
from nnlib.model import Parameters, l_model_forward


def playground_data(
    networks: Mapping[str, tuple[str, Parameters, bool]], X_test: Tensor, Y_test: Tensor, samples: int = 3
) -> dict[str, Any]:
    """A record for JSON that `templates/playground.html.j2` shows.

    Parameters
    ----------
    networks : key → (label, parameters of one network, whether it uses batch norm)
    X_test, Y_test : the test set, pixels × examples from 0 to 1 and one-hot classes × examples
    samples : images of each digit to take along, the first ones of the set

    Returns
    -------
    networks : a list, in the order given (JSON may sort keys), of key, label, batchnorm and layers. A layer is W and b,
        float32; with batch norm a hidden layer also has the mean and the deviation √(σ² + ε) of its activations over
        the test set, float64, since the single image on the page has no batch of its own.
    images : label and pixels, uint8; first one of each digit, then the second of each, and so on
    examples : images in the test set

    Arrays are row-major, little-endian, in base64.

    Raises
    ------
    ValueError
        If the parameters are those of many networks.
    """
    digits = Y_test.argmax(0)
    firsts = [(digits == digit).nonzero().flatten()[:samples].tolist() for digit in range(len(Y_test))]
    chosen = [found[rank] for rank in range(samples) for found in firsts if rank < len(found)]
    return {
        "networks": [
            {"key": key, "label": label, "batchnorm": batchnorm, "layers": _layers(parameters, batchnorm, X_test)}
            for key, (label, parameters, batchnorm) in networks.items()
        ],
        "images": [
            {"label": int(digits[index]), "pixels": _base64((X_test[:, index] * 255).round(), "u1")} for index in chosen
        ],
        "examples": X_test.shape[1],
    }


def _layers(parameters: Parameters, batchnorm: bool, X: Tensor) -> list[dict[str, str]]:
    if parameters["W1"].ndim != 2:
        raise ValueError(f"parameters: expected one network, W1 (out, in), got W1 {tuple(parameters['W1'].shape)}")
    layers = [
        {name: _base64(parameters[f"{name}{layer}"], "<f4") for name in "Wb"}
        for layer in range(1, len(parameters) // 2 + 1)
    ]
    if batchnorm:
        exact = {name: value.double() for name, value in parameters.items()}
        _, caches = l_model_forward(X.double(), exact, use_batchnorm=True)
        for layer, (_, _, A) in zip(layers[:-1], caches[:-1], strict=True):
            layer["mean"] = _base64(A.mean(-1), "<f8")
            layer["deviation"] = _base64((A.var(-1, correction=0) + BATCHNORM_EPSILON).sqrt(), "<f8")
    return layers


def _base64(values: Tensor, dtype: str) -> str:
    return base64.b64encode(values.cpu().numpy().astype(dtype).tobytes()).decode("ascii")
