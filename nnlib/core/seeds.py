"""What a seed decides: a network's initial weights, and the order of the training examples in each epoch.

Each comes from a stream of random numbers of its own: NumPy's Philox generator, keyed by the seed and the epoch, where
epoch 0 stands for the initial weights. Nothing is carried from one epoch to the next, so that the number of an epoch is
enough to resume training there. J. Salmon et al., *Parallel random numbers: as easy as 1, 2, 3* (2011).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from nnlib.records import Seed, checked


class Seeds(NamedTuple):
    """The seeds of one replica: of its initial weights, and of its shuffles."""

    weights: int
    shuffle: int

    @classmethod
    def of(cls, seed: int | Seeds) -> Seeds:
        """`Seeds` as given; one number stands for both.

        Raises
        ------
        InputError
            If a seed is not a whole number from 0 to 2⁶² − 1.
        """
        both = seed if isinstance(seed, Seeds) else (seed, seed)
        return cls(*(checked("seed", each, Seed) for each in both))


def initial_normals(seed: int, shapes: Iterable[tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """Arrays of those shapes, of numbers from N(0, 1), for the initial weights of each layer."""
    stream = _stream(seed, 0)
    return [stream.standard_normal(shape) for shape in shapes]


def epoch_order(seed: int, epoch: int, examples: int, shuffle: str = "every_epoch") -> NDArray[np.int64]:
    """The numbers 0 to examples − 1 in the order of one epoch; epochs count from 1.

    Shuffled "once", every epoch has the first one's order; "never", that of the examples.
    """
    if shuffle == "never":
        return np.arange(examples)
    return _stream(seed, epoch if shuffle == "every_epoch" else 1).permutation(examples)


def _stream(seed: int, epoch: int) -> Generator:
    return Generator(Philox(SeedSequence(seed, spawn_key=(epoch,))))
