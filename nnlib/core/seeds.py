"""What a seed decides: a network's first weights, and the order of the examples in each epoch.

Each comes from a stream of random numbers of its own: NumPy's Philox generator, keyed by the seed and the epoch, where
epoch 0 stands for the first weights. Nothing is carried from one epoch to the next, so that a run goes on from an epoch
by its number alone. J. Salmon et al., *Parallel random numbers: as easy as 1, 2, 3* (2011).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray


def first_normals(seed: int, shapes: Iterable[tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """Arrays of those shapes, of numbers from N(0, 1), for the first weights of each layer."""
    stream = _stream(seed, 0)
    return [stream.standard_normal(shape) for shape in shapes]


def epoch_order(seed: int, epoch: int, examples: int, reshuffle: bool = True) -> NDArray[np.int64]:
    """The numbers 0 to examples − 1 in the order of one epoch; epochs count from 1.

    Not reshuffled, every epoch has the first one's order.
    """
    return _stream(seed, epoch if reshuffle else 1).permutation(examples)


def _stream(seed: int, epoch: int) -> Generator:
    return Generator(Philox(SeedSequence(seed, spawn_key=(epoch,))))
