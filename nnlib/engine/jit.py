"""Numba's decorators, as the engine uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import config

from nnlib.errors import InputError
from nnlib.source import ChangedCodeError, code_digest

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise InputError(
        "NUMBA_DISABLE_JIT: expected 0, since the engine's SIMD vectors are there in compiled code alone, got "
        f"{config.DISABLE_JIT}; nnlib.l_layer_model trains without Numba"  # type: ignore[attr-defined]
    )

# No lock of Python's is held, so that threads run side by side; division by 0 is IEEE 754's.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call with new types, once for each processor: the code is kept in a folder.

    Numba finds it again by the function's name, file and bytecode, though it is made of other functions of nnlib too;
    so their digest becomes part of the name. Where no folder can be written, or a file was edited before the function
    was imported, nothing is kept, and each process compiles anew.
    """
    try:
        function.__qualname__ += f"-{code_digest()[:16]}"
        return njit(function, cache=True, **OPTIONS)
    except (ChangedCodeError, RuntimeError):
        return njit(function, **OPTIONS)


# Part of the function that calls it: compiled with it, not by itself.
inlined: Any = njit(inline="always", **OPTIONS)
