"""The pipeline's stages: each reads parameters and files, calls nnlib, writes files; dvc.yaml has the order."""

import os

# Both are read when torch is imported.
os.environ |= {
    # How long an OpenMP thread spins for work before it sleeps. The default spins so long that one other busy process
    # on the machine slows training tenfold; this costs a few percent on an idle one.
    "GOMP_SPINCOUNT": "20000",
    # Large pages for large tensors: gathering random rows of the training set misses fewer addresses.
    "THP_MEM_ALLOC_ENABLE": "1",
} | os.environ
