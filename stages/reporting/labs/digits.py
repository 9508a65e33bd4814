"""What the page's labs have in common: a few thousand digits, and how numbers are packed into the page."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from torch import Tensor

LEVELS = 15  # the greatest of the grey levels


def digits_data(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], examples: int = 2000, held_out: int = 500
) -> dict[str, Any]:
    """A record for JSON that `templates/labs/shared.html.j2` takes into the page.

    Parameters
    ----------
    train, test : (X, Y), pixels × examples from 0 to 1 and one-hot classes × examples; the first ones of each are taken
    examples, held_out : how many of them at most

    Returns
    -------
    train, held_out : how many digits there are of each
    labels : of all of them, first those of the training set
    digits : their pixels, example after example, as grey levels 0 to 15, the first of two in a byte's lower half;
        packed
    """
    chosen = [(X[:, :most], Y[:, :most]) for (X, Y), most in ((train, examples), (test, held_out))]
    greys = [(X.T * LEVELS).round().numpy().astype("u1") for X, _ in chosen]
    return {
        "train": len(greys[0]),
        "held_out": len(greys[1]),
        "labels": [int(label) for _, Y in chosen for label in Y.argmax(0)],
        "digits": packed(b"".join((levels[:, ::2] | levels[:, 1::2] << 4).tobytes() for levels in greys)),
    }


def packed(values: bytes) -> str:
    """Deflated, in base64; `inflate` of `templates/labs/digits.js` is the inverse."""
    return base64.b64encode(zlib.compress(values, 9)).decode("ascii")
