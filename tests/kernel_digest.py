"""Prints a digest of what the kernel computes in a small problem, without torch: the same on every processor.

docs/engine.md has how it is run in emulation. `python tests/kernel_digest.py`
"""

import hashlib
import itertools
import platform

import numpy as np

from nnlib.core.seeds import epoch_order, initial_normals
from nnlib.engine.activations import ACTIVATIONS
from nnlib.engine.arithmetic import ieee_754
from nnlib.engine.kernel import evaluate, gradient_steps, squared_weights
from nnlib.engine.layout import CSR, Hyperparameters, Normalization, SideBySide, workspace
from nnlib.engine.simd import chosen

DIMS, EXAMPLES, BATCH, EPOCHS = (784, 20, 7, 5, 10), 200, 32, 3


def sets(dtype):
    """Random examples of which a fifth is not 0, and labels."""
    random = np.random.Generator(np.random.Philox(0))
    X = np.where(random.random((EXAMPLES, DIMS[0])) < 0.2, random.integers(1, 256, (EXAMPLES, DIMS[0])), 0)
    indptr = np.append(0, (X != 0).sum(1).cumsum())
    palette = (np.arange(256) / 255).astype(dtype)
    labels = random.integers(0, DIMS[-1], EXAMPLES)
    return CSR(indptr, X.nonzero()[1].astype(np.uint16), X[X != 0].astype(np.uint8), palette, labels)


def digest(dtype):
    csr, found = sets(dtype), hashlib.sha256()
    for batchnorm, exact in ((False, False), (True, False), (True, True)):
        networks = SideBySide(DIMS, 2, dtype)
        hyper = Hyperparameters(
            dtype(0.05),
            dtype(0.01),
            chosen(ACTIVATIONS, "relu"),
            batchnorm,
            Normalization(dtype(1e-8), True, False, False, exact),
        )
        for seed, arrays in enumerate(networks.arrays):
            alone = SideBySide(DIMS, 1, dtype)
            shapes = [(n, n_in) for n_in, n in itertools.pairwise(DIMS)]
            for number, normals in enumerate(initial_normals(seed, shapes), start=1):
                alone.arrays[0][f"W{number}"][:] = normals * np.sqrt(2 / normals.shape[0])
            work = workspace(alone.net, BATCH, batchnorm)
            for epoch in range(1, EPOCHS + 1):
                sums = gradient_steps(alone.net, csr, epoch_order(seed, epoch, EXAMPLES), work, hyper)
                found.update(np.array(sums).tobytes())
            for name, array in arrays.items():
                array[:] = alone.arrays[0][name]
                found.update(np.ascontiguousarray(array).tobytes())
        result = np.zeros((2, 2))
        evaluate(networks.net, csr, np.arange(EXAMPLES), workspace(networks.net, EXAMPLES, batchnorm), hyper, result)
        found.update(result.tobytes() + np.float64(squared_weights(networks.net)).tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    with ieee_754():
        print(digest(np.float32), digest(np.float64), platform.machine())
