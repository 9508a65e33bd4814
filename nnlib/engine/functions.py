"""e^x and log x written out for `Lanes`: the C library's last digit differs from system to system, these do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core.caching import IndexDataCacheFile

from nnlib.core.layers import BATCHNORM_EPSILON
from nnlib.engine.simd import fill, two_to, where_above

LANES = ((),) * 16


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled for the types that it is first called with, once for each processor: the code is kept in a folder.

    Numba would find it again by the function's own file alone, though it is made of the other files of the engine too;
    so their hash is part of its name. Where no folder can be written, each process compiles anew.
    """
    try:
        made: Any = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
    cache = made._cache
    sources = [Path(function.__code__.co_filename), *sorted(Path(__file__).parent.glob("*.py"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache._cache_file = IndexDataCacheFile(cache._cache_path, f"{cache._impl.filename_base}-{digest}", digest)
    return made


# Part of the function that calls it: compiled once with it, not twice.
part: Any = njit(nogil=True, inline="always", error_model="numpy")

EXP_TERMS = {"float32": 7, "float64": 13}  # of the Taylor series, for the last bit of e^r
EXP_LOWEST = {"float32": -87.0, "float64": -708.0}  # e^x is still a normal number


class Constants(NamedTuple):
    """Numbers of the network's float type: what `exp` needs, batch norm's ε, and 0, 1 and 2."""

    log2_e: Any
    log_2_high: Any
    log_2_low: Any
    rounding: Any
    lowest: Any
    inverses: tuple[Any, ...]
    epsilon: Any
    zero: Any
    one: Any
    two: Any


def constants(dtype: np.dtype[Any]) -> Constants:
    """The kernel's numbers in the network's float type."""
    number: Any = dtype.type
    bits = np.finfo(number).nmant
    # The first part of log 2 has so few bits that its product with k is exact.
    high = float(np.ldexp(np.rint(np.ldexp(np.log(2), bits // 2)), -(bits // 2)))
    return Constants(
        log2_e=number(1 / np.log(2)),
        log_2_high=number(high),
        log_2_low=number(np.log(2) - high),
        rounding=number(1.5 * 2.0**bits),
        lowest=number(EXP_LOWEST[dtype.name]),
        inverses=tuple(number(1 / n) for n in range(EXP_TERMS[dtype.name], 0, -1)),
        epsilon=number(BATCHNORM_EPSILON),
        zero=number(0),
        one=number(1),
        two=number(2),
    )


@compiled
def exp(x, c):
    """e^x as 2^k e^r, with k whole and |r| ≤ log 2 / 2, e^r by its Taylor series; NaN stays NaN."""
    lowest = fill(c.lowest, LANES)
    x = where_above(lowest, x, lowest, x)
    shifted = x * c.log2_e + c.rounding  # so large that its last bits are those of k
    k = shifted - c.rounding
    r = x - k * c.log_2_high - k * c.log_2_low
    series = fill(c.one, LANES)
    for inverse in c.inverses:
        series = series * (r * inverse) + c.one
    return series * two_to(shifted)


@part
def log(s, c, rounds):
    """log s, s ≥ 1, by Halley's steps y + 2 (s − e^y) / (s + e^y): first up to 2 each, then the error is cubed."""
    y = (s - c.one) * c.two / (s + c.one)
    for _ in range(rounds):
        power = exp(y, c)
        y = y + (s - power) * c.two / (s + power)
    return y
