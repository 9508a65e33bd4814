"""How the numbers of the compiled engine lie, all in flat arrays:

- An example is its inked pixels one after the other, `pixel` and `grey` from `start[x]` to `start[x + 1]`; the value is
  `values[grey]`.
- `W1`, the first layer's weights: units in blocks of `width`, and in a block a row of `width` weights for each pixel,
  which finds them side by side. Units that only fill up a block have weights 0.
- `W`, the other layers' weights, each (out, in), one layer after the other; `b`, every layer's biases.
- `Z`, `A`, `dZ`: a row for each unit, layer after layer, and in it a column for each example, and more up to a multiple
  of 16; `present` is 1 for an example and 0 for filling. `Z` holds ReLU's output, which is above 0 where Z was; `A` is
  `Z` itself, or what batch norm makes of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Ink(NamedTuple):
    """Examples: their inked pixels, and their labels."""

    pixel: np.ndarray  # of all inked pixels, example after example, which feature it is
    grey: np.ndarray  # and where in `values` its value is
    values: np.ndarray
    start: np.ndarray  # (examples + 1,) where each example's pixels begin
    label: np.ndarray  # (examples,)


class Network(NamedTuple):
    """A network, changed in place: the units of each layer, input first, and the numbers described above."""

    dims: np.ndarray
    W1: np.ndarray
    W: np.ndarray
    b: np.ndarray


class Memory(NamedTuple):
    """What a pass over a batch of examples leaves behind; `sums` has the first layer's sums, an example a row."""

    batch: int
    columns: int
    present: np.ndarray
    Z: np.ndarray
    A: np.ndarray
    dZ: np.ndarray
    deviation: np.ndarray
    sums: np.ndarray


def to_ink(X: Tensor, Y: Tensor) -> Ink:
    """Features × examples as lists of inked pixels: a quarter of a step's time for each quarter of the pixels inked.

    Up to 256 different values, MNIST's grey levels, take a byte for each inked pixel, more take four. Without blanks a
    step costs what its products cost, without a matrix library's help: several times as much as the batched engine.
    """
    examples = np.ascontiguousarray(X.numpy().T)
    inked = examples != 0
    value, pixel = examples[inked], inked.nonzero()[1]
    values = np.unique(value)
    return Ink(
        pixel=pixel.astype(np.uint16 if len(X) <= 2**16 else np.uint32),
        grey=np.searchsorted(values, value).astype(np.uint8 if len(values) <= 2**8 else np.uint32),
        values=values,
        start=np.append(0, inked.sum(1).cumsum()),
        label=Y.argmax(0).numpy(),
    )
