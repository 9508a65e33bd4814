"""The processor's mode of arithmetic, which a thread has and libraries change: here it is IEEE 754's while we compute.

`torch.set_flush_denormal`, and loading a library that was built with fast math, turn denormal numbers into 0; another
rounding would be possible too.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nnlib.engine.jit import compiled

X86 = platform.machine().lower() in ("x86_64", "amd64")
ARM = platform.machine().lower() in ("aarch64", "arm64")
# Of the control register, MXCSR or FPCR: no exception is trapped, rounding is to nearest, denormal numbers are numbers.
IEEE_754 = 0x1F80 if X86 else 0


@intrinsic
def _exchange(typingctx: Any, mode: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        module, (new,) = builder.module, arguments
        if X86:
            word = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
            read, write = (ir.Function(module, kind, f"llvm.x86.sse.{name}") for name in ("stmxcsr", "ldmxcsr"))
            place = builder.alloca(word)
            builder.call(read, [builder.bitcast(place, kind.args[0])])
            old = builder.zext(builder.load(place), new.type)
            builder.store(builder.trunc(new, word), place)
            builder.call(write, [builder.bitcast(place, kind.args[0])])
        elif not ARM:
            old = new  # another processor's mode is left alone
        else:
            read = ir.Function(module, ir.FunctionType(new.type, []), "llvm.aarch64.get.fpcr")
            write = ir.Function(module, ir.FunctionType(ir.VoidType(), [new.type]), "llvm.aarch64.set.fpcr")
            old = builder.call(read, [])
            builder.call(write, [new])
        return old

    return types.int64(types.int64), generate


@compiled
def exchange(mode: Any) -> Any:
    """Set the thread's mode; returns the one before."""
    return _exchange(mode)  # type: ignore[call-arg]  # Numba gives the first argument


@contextmanager
def ieee_754() -> Iterator[None]:
    """Inside, this thread computes as IEEE 754 says; afterwards as before."""
    before = exchange(IEEE_754)
    try:
        yield
    finally:
        exchange(before)
