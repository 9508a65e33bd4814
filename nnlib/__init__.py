"""Forward and backward propagation written by hand over torch tensors, for one network or many at once. No autograd.

Read in this order: `core.layers` (one layer), `core.model` (the network), `gradients` (is a backward right?),
`core.training` (the study's loop), `engine` and `replicas` (many seeds at once), then `evidence` (what the seeds say).

What this package exports is listed in `__init__.pyi`, and imported when it is first asked for.
"""

import lazy_loader

import nnlib.source  # noqa: F401  remembers the sources as they are now

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
