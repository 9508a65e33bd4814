"""Numba's decorators, as the engine uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

from nnlib.errors import InputError

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise InputError(
        "NUMBA_DISABLE_JIT: expected 0, since the engine's SIMD vectors are there in compiled code alone, got 1; "
        "nnlib.l_layer_model trains without Numba"
    )

# No lock of Python's is held, so that threads run side by side; division by 0 is IEEE 754's.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


@cache
def _sources() -> str:
    """A hash of the engine's files, and of the optimizers, which it compiles."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(__file__).parents[1] / "core" / "optimizers.py"]
    content = b"".join(path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()[:16]


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call with new types, once for each processor: the code is kept in a folder.

    Numba finds it again by the function's name, file and bytecode, though it is made of the other files of the engine
    too; so their hash becomes part of the name. Where no folder can be written, each process compiles anew.
    """
    function.__qualname__ += f"-{_sources()}"
    try:
        return njit(function, cache=True, **OPTIONS)
    except RuntimeError:
        return njit(function, **OPTIONS)


# Part of the function that calls it: compiled with it, not by itself.
inlined: Any = njit(inline="always", **OPTIONS)
