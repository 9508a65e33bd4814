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

from nnlib.engine.functions import compiled


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
    values = X.numpy()
    start = np.zeros(values.shape[1] + 1, np.int64)
    count_ink(values, start[1:])
    np.cumsum(start, out=start)
    pixel = np.empty(start[-1], np.uint16 if len(values) <= 2**16 else np.uint32)
    value = np.empty(start[-1], values.dtype)
    find_ink(values, start, pixel, value)
    table, grey = np.zeros(256, values.dtype), np.empty(len(value), np.uint8)
    label = Y.argmax(0).numpy()
    if number_values(value, value.view(f"i{value.itemsize}"), np.full(1024, -1), table, grey) >= 0:
        return Ink(pixel, grey, table, start, label)
    many, place = np.unique(value, return_inverse=True)
    return Ink(pixel, place.astype(np.uint32), many, start, label)


@compiled
def count_ink(X, count):
    """Add to `count` how many pixels of each example are inked."""
    for p in range(X.shape[0]):
        for x in range(X.shape[1]):
            count[x] += X[p, x] != 0


@compiled
def find_ink(X, start, pixel, value):
    """List the inked pixels of X, features × examples, example by example; `start` has room for each."""
    at = start[:-1].copy()
    for p in range(X.shape[0]):
        for x in range(X.shape[1]):
            if X[p, x] != 0:
                pixel[at[x]], value[at[x]] = p, X[p, x]
                at[x] += 1


@compiled
def number_values(value, bits, seen, table, code):
    """Number the different values as they come, if there are at most 256; how many there are, or −1 for more.

    `seen` is an open hash table of 1,024 numbers, −1 for none, where a value lies near its last bits.
    """
    found = 0
    for k in range(len(value)):
        slot = (bits[k] ^ (bits[k] >> 13)) & 1023
        while seen[slot] >= 0 and table[seen[slot]] != value[k]:
            slot = (slot + 1) & 1023
        if seen[slot] < 0:
            if found == 256:
                return -1
            seen[slot], table[found] = found, value[k]
            found += 1
        code[k] = seen[slot]
    return found
