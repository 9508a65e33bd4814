"""How the numbers of the compiled engine lie: what its kernel takes, in flat arrays.

A layer's activations have a row for each unit and a column for each example of a batch. Columns are filled up to a
multiple of 16, the number of examples computed at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlib.core.optimizers import Rates
from nnlib.engine.simd import lanes

if TYPE_CHECKING:
    from torch import Tensor

# Units of the first layer in a block: as many sums as the registers of every processor hold (not `simd.WIDEST`, the
# numbers in one register).
WIDEST = 32
UNITS = 4  # a block has a multiple of so many
ALIGNED = 8  # a feature's weights begin at a multiple of so many numbers, so that few touch an additional cache line
EXAMPLES = 16  # columns are a multiple of so many
CACHE_LINE = 64  # bytes
CONVERTED = 2**12  # examples at a time, so that what is only needed on the way to CSR takes little memory


class CSR(NamedTuple):
    """Examples × features in compressed sparse rows, the values through a palette, and the examples' labels."""

    indptr: np.ndarray  # (examples + 1,) where each example's numbers begin
    indices: np.ndarray  # of each number that is not 0, example after example, which feature it is
    codes: np.ndarray  # and where in `palette` its value is
    palette: np.ndarray
    labels: np.ndarray  # (examples,)


class Batch(NamedTuple):
    """The `m` examples of an order from `first` on."""

    csr: CSR
    order: np.ndarray
    first: int
    m: int


class Layer(NamedTuple):
    """A layer from the `n_in` rows that begin with `row_in` to the `n` rows from `row` on; W begins at `at`."""

    n_in: int
    n: int
    row_in: int
    row: int
    at: int


class Network(NamedTuple):
    """A network, changed in place by training, or several side by side, which pass over a set together.

    Side by side, the first layers are one layer of all their units, the second ones follow each other, and so on.
    """

    block: Any  # `lanes`: so many units of the first layer are computed at a time
    units: int  # of the first layer, with those of weights 0 that only fill up a block
    stride: int  # from one feature's weights in `W1` to the next one's
    count: int  # networks
    layers: np.ndarray  # (L · count, 5) a `Layer` in each line, the output layers last
    W1: np.ndarray  # for each feature the weights of all units, which are used together
    W: np.ndarray  # the other layers' weights, each (out, in), one after the other
    b: np.ndarray  # for each row of activations its unit's bias


class Workspace(NamedTuple):
    """Room for the activations and gradients of up to `batch` examples at a time."""

    batch: int
    columns: int
    present: np.ndarray  # (columns,) 1 for an example and 0 for filling
    Z: np.ndarray  # before the activation, and in its place what the activation makes of it
    A: np.ndarray  # the same array, or what batch norm makes of it
    dZ: np.ndarray
    deviation: np.ndarray  # of each row, where there is batch norm
    sums: np.ndarray  # what the first layer's loops add up, an example a row


class Normalization(NamedTuple):
    """The form of batch norm and its derivative, as the kernel takes them."""

    epsilon: Any
    in_variance: bool  # ε is added to the variance, else to the deviation
    unbiased: bool  # the variance
    over_matrix: bool  # one mean and one variance for all units of a layer, else one for each unit
    exact: bool  # its derivative, else straight through


class Hyperparameters(NamedTuple):
    """What the kernel needs of a configuration."""

    learning_rate: Any
    L2: Any
    activation: Any  # of `ACTIVATIONS`, `chosen`
    batchnorm: bool
    normalization: Normalization


class Dense(NamedTuple):
    """What a step needs whose optimizer is not fused with the backward pass."""

    optimizer: Any  # of `OPTIMIZERS`, `chosen`
    rates: Rates
    gradient: Network  # dW and db in the layout of the network
    W1: tuple[np.ndarray, ...]  # the optimizer's state, in the layout of W1, W and b
    W: tuple[np.ndarray, ...]
    b: tuple[np.ndarray, ...]


def to_csr(X: Tensor, Y: Tensor) -> CSR:
    """Features × examples as CSR.

    The time of a step is nearly proportional to the share of numbers that are not 0. Up to 256 different values,
    MNIST's grey levels, take a byte for each number, more take four. Without zeros a step costs what its products cost,
    without a matrix library's help: several times as much as the batched engine.
    """
    counts, features, values = [], [], []
    for part in X.split(CONVERTED, dim=1):
        examples = part.T.contiguous().numpy()
        example, feature = examples.nonzero()
        counts.append(np.bincount(example, minlength=len(examples)))
        features.append(feature.astype(np.uint16 if len(X) <= 2**16 else np.uint32))
        values.append(examples[example, feature])
    palette = np.unique(np.concatenate([np.unique(part) for part in values]))
    code = np.uint8 if len(palette) <= 2**8 else np.uint32
    return CSR(
        indptr=np.append(0, np.concatenate(counts).cumsum()),
        indices=np.concatenate(features),
        codes=np.concatenate([np.searchsorted(palette, part).astype(code) for part in values]),
        palette=palette,
        labels=Y.argmax(0).numpy(),
    )


class SideBySide:
    """Networks of the same layers side by side, all weights 0.

    Attributes
    ----------
    net : all of them, for the kernel
    arrays : of each network W1 (out, in), b1 (out,), W2, b2, ..., views of its part of `net`
    """

    def __init__(self, dims: Sequence[int], count: int, dtype: Any) -> None:
        blocks = -(-dims[1] // WIDEST) if count == 1 else 1
        width = -(-dims[1] // (UNITS * blocks)) * UNITS
        units = count * blocks * width
        stride = -(-units // ALIGNED) * ALIGNED
        layers, row, at = [[Layer(dims[0], dims[1], 0, k * width, 0) for k in range(count)]], units, 0
        for n_in, n in itertools.pairwise(dims[1:]):
            before = [layer.row for layer in layers[-1]]
            layers.append([Layer(n_in, n, before[k], row + k * n, at + k * n * n_in) for k in range(count)])
            row, at = row + count * n, at + count * n * n_in
        W1, W, b = aligned((dims[0], stride), dtype), np.zeros(at, dtype), np.zeros(row, dtype)
        table = np.array([layer for networks in layers for layer in networks], np.int64)
        self.net = Network(lanes(count * width), units, stride, count, table, W1.reshape(-1), W, b)
        self.arrays = []
        for first, *others in zip(*layers, strict=True):
            self.arrays.append({"W1": W1[:, first.row :][:, : first.n].T, "b1": b[first.row :][: first.n]})
            for number, layer in enumerate(others, start=2):
                weights = W[layer.at :][: layer.n * layer.n_in]
                self.arrays[-1][f"W{number}"] = weights.reshape(layer.n, layer.n_in)
                self.arrays[-1][f"b{number}"] = b[layer.row :][: layer.n]


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that begin where a cache line does."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + CACHE_LINE, np.uint8)
    return room[-room.ctypes.data % CACHE_LINE :][:size].view(dtype).reshape(shape)


def workspace(net: Network, batch: int, batchnorm: bool) -> Workspace:
    """Room for passes of a network, or of several side by side."""
    columns, rows, dtype = -(-batch // EXAMPLES) * EXAMPLES, len(net.b), net.b.dtype
    Z = np.zeros(rows * columns, dtype)
    return Workspace(
        batch=batch,
        columns=columns,
        present=np.zeros(columns, dtype),
        Z=Z,
        A=np.zeros_like(Z) if batchnorm else Z,
        dZ=np.zeros_like(Z),
        deviation=np.zeros(rows, dtype),
        sums=np.zeros(columns * max(len(net.block), 3), dtype),
    )
