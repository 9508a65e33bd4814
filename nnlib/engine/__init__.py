"""Many seeds at once: what a run is, the engines that train it, and the store of what was trained.

`run` is what everything else speaks of; `replicas` is the door; behind it `compiled` drives the loops of `kernel` on the
CPU, written with the `lanes` that make them fast, `batched` any other device, and `store` remembers.
"""

from nnlib.engine.replicas import accuracy, train_replicas
from nnlib.engine.run import Run, Settings
from nnlib.engine.store import Store

__all__ = ["Run", "Settings", "Store", "accuracy", "train_replicas"]
