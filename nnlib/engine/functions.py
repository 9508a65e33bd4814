"""e^x and log x of SIMD vectors, written out: the C library's last digit differs from system to system."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
from numba.extending import overload

from nnlib.engine.jit import OPTIONS
from nnlib.engine.simd import Vector, exponent, fill, fma, two_to, where_above

EXP_TERMS = {"float32": 7, "float64": 13}  # highest power of r, for the last bit of e^r
EXP_LOWEST = {"float32": -87.0, "float64": -708.0}  # e^x is still a normal number
LOG_2 = (0.6931471805599453, 2.3190468138462996e-17)  # as the sum of two float64
# Each leaves about the cube of the error before it, which is up to 0.06 at the start.
LOG_ROUNDS = {"float32": 2, "float64": 3}


def exp(x: Any) -> Any:
    """e^x as 2^k e^r, with k whole and |r| ≤ log 2 / 2, e^r by its Taylor series; NaN stays NaN."""
    raise NotImplementedError


def log(x: Any) -> Any:
    """log x of a normal number by Halley's steps y + 2 (x − e^y) / (x + e^y)."""
    raise NotImplementedError


@overload(exp, jit_options=OPTIONS)
def _exp(x: Any) -> Any:
    if not isinstance(x, Vector):
        return None
    number: Any = np.dtype(x.dtype.name).type
    bits = np.finfo(number).nmant
    lowest, rounding = number(EXP_LOWEST[x.dtype.name]), number(1.5 * 2.0**bits)
    log2_e = number(1 / LOG_2[0])
    high = number(LOG_2[0])
    low = number(LOG_2[0] - float(high) + LOG_2[1])
    last, *coefficients = [number(1 / factorial(n)) for n in range(EXP_TERMS[x.dtype.name], -1, -1)]
    coefficients = tuple(coefficients)

    def compute(x: Any) -> Any:
        x = where_above(lowest, x, lowest, x)
        shifted = fma(x, log2_e, rounding)  # so large that its last bits are those of k
        k = shifted - rounding
        r = fma(k, -low, fma(k, -high, x))
        series = fill(last, x)
        for coefficient in coefficients:
            series = fma(series, r, coefficient)
        return series * two_to(shifted)

    return compute


@overload(log, jit_options=OPTIONS)
def _log(x: Any) -> Any:
    if not isinstance(x, Vector):
        return None
    number: Any = np.dtype(x.dtype.name).type
    rounds, log_2, two = LOG_ROUNDS[x.dtype.name], number(LOG_2[0]), number(2)

    def compute(x: Any) -> Any:
        y = exponent(x) * log_2
        for _ in range(rounds):
            power = exp(y)
            y = y + two * (x - power) / (x + power)
        return y

    return compute
