"""Numba's decorators, as the engine uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from numba import njit
from numba.core import config
from numba.core.caching import FunctionCache

from nnlib.errors import InputError
from nnlib.source import SOURCES, changed_files

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise InputError(
        "NUMBA_DISABLE_JIT: expected 0, since the engine's SIMD vectors are there in compiled code alone, got "
        f"{config.DISABLE_JIT}; nnlib.l_layer_model trains without Numba"  # type: ignore[attr-defined]
    )

# No lock of Python's is held, so that threads run side by side; division by 0 is IEEE 754's.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


@cache
def _sources() -> str:
    """A hash of what is compiled as it was imported: the engine, and the optimizers."""
    content = b"".join(SOURCES[name] for name in SOURCES if name.startswith("engine/") or name == "core/optimizers.py")
    return hashlib.sha256(content).hexdigest()[:16]


class Kept(FunctionCache):
    """Numba's folder of compiled code, used as long as no file differs from what was imported."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        return None if changed_files() else super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        if not changed_files():
            super().save_overload(sig, data)


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call with new types, once for each processor: the code is kept in a folder.

    Numba finds it again by the function's name, file and bytecode, though it is made of the other files of the engine
    too; so their hash becomes part of the name. Where no folder can be written, each process compiles anew.
    """
    function.__qualname__ += f"-{_sources()}"
    dispatcher = njit(function, **OPTIONS)
    with suppress(RuntimeError):
        dispatcher._cache = Kept(function)  # type: ignore[attr-defined]
    return dispatcher


# Part of the function that calls it: compiled with it, not by itself.
inlined: Any = njit(inline="always", **OPTIONS)
