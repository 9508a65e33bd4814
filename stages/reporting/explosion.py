"""What a page needs to train the study's network by itself: its settings and a few thousand digits, packed."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from torch import Tensor

from stages.parameters import Parameters

LEVELS = 15  # the greatest of the grey levels


def explosion_data(
    params: Parameters,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    examples: int = 2000,
    held_out: int = 500,
    probe: int = 200,
) -> dict[str, Any]:
    """A record for JSON that `templates/explosion.html.j2` trains on.

    Parameters
    ----------
    train, test : (X, Y), pixels × examples from 0 to 1 and one-hot classes × examples; the first ones of each are taken
    examples, held_out : how many of them at most
    probe : on how many of the training set the gradient is looked at, at most

    Returns
    -------
    layers_dims, initialization, learning_rate, batch_size, l2 : the study's, the batch no larger than what there is
    train, held_out, probe : how many digits there are of each
    labels : of all of them, first those of the training set
    digits : their pixels, example after example, as grey levels 0 to 15, the first of two in a byte's lower half;
        deflated, in base64
    """
    chosen = [(X[:, :most], Y[:, :most]) for (X, Y), most in ((train, examples), (test, held_out))]
    greys = [(X.T * LEVELS).round().numpy().astype("u1") for X, _ in chosen]
    pairs = b"".join((levels[:, ::2] | levels[:, 1::2] << 4).tobytes() for levels in greys)
    return {
        "layers_dims": params.network.layers_dims,
        "initialization": params.network.initialization,
        "learning_rate": params.learning_rate,
        "batch_size": min(params.batch_size, len(greys[0])),
        "l2": params.l2,
        "train": len(greys[0]),
        "held_out": len(greys[1]),
        "probe": min(probe, len(greys[0])),
        "labels": [int(label) for _, Y in chosen for label in Y.argmax(0)],
        "digits": base64.b64encode(zlib.compress(pairs, 9)).decode("ascii"),
    }
