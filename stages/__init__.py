"""The pipeline's stages: each reads parameters and files, calls nnlib, writes files; dvc.yaml has the order."""

import os

# How long an OpenMP thread spins for work before it sleeps. The default spins so long that one other busy process on
# the machine slows training tenfold; this costs a few percent on an idle one. Set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
