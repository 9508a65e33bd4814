"""Many seeds at once: what a run is, the engines that train it, and the store of what was trained.

`run` is what everything else speaks of; `replicas` is the door. Behind it, on the CPU, `compiled` drives the loops of
`kernel`, whose numbers lie as `layout` says and are added by `lanes`; `batched` is for any other device, `cluster` for
other machines; `store` remembers.
"""

from nnlib.engine.replicas import accuracy, train_replicas
from nnlib.engine.run import Run, Settings
from nnlib.engine.store import Store

__all__ = ["Run", "Settings", "Store", "accuracy", "train_replicas"]
