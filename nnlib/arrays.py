"""What counts as an array: a tensor, a NumPy array, a table or a list, of numbers that can be computed with.

Its numbers are float32 or float64. Where the arrays of one call differ, all become float64. Lists take the precision of
the others, float32 without others; so do one-hot labels Y, which may be whole numbers too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nnlib.errors import InputError
from nnlib.records import what

PRECISIONS = (torch.float32, torch.float64)

ArrayLike = Tensor | npt.ArrayLike


def precision(name: str, value: Any) -> torch.dtype:
    """torch.float32 or torch.float64."""
    if not any(value is dtype for dtype in PRECISIONS):
        raise InputError(f"{name}: expected torch.float32 or torch.float64, got {what(value)}")
    return value


def tensor(name: str, value: Any) -> Tensor:
    """Real numbers as a tensor of their own type: a tensor as it is, all else as a copy on the CPU."""
    if not isinstance(value, Tensor):
        value = _from_array(name, value)
    variable = variable_of(name)
    if value.is_nested:
        raise InputError(f"{name}: expected one tensor, got a nested one; use torch.stack({variable}.unbind())")
    if value.layout is not torch.strided:
        raise InputError(f"{name}: expected a dense array, got {value.layout}; use {variable}.to_dense()")
    if value.is_meta:
        raise InputError(f"{name}: expected an array of numbers, got a tensor on the device meta, which has none")
    if value.is_complex():
        raise InputError(f"{name}: expected an array of real numbers, got {what(value)}")
    if value.dtype in (torch.uint16, torch.uint32, torch.uint64):
        # PyTorch has next to no operations for these.
        value = value.to(torch.int64)
    return value.as_subclass(Tensor)


def variable_of(name: str) -> str:
    """What code calls the array: W1 where a message's name is "parameters: W1"."""
    return name.rpartition(": ")[2]


def _from_array(name: str, value: Any) -> Tensor:
    if hasattr(value, "toarray"):
        raise InputError(f"{name}: expected a dense array, got a sparse one; use {variable_of(name)}.toarray()")
    if np.ma.is_masked(value):
        end = f"use {variable_of(name)}.filled(...)"
        raise InputError(f"{name}: expected an array without masked values, got {what(value)}; {end}")
    array = None
    try:
        array = np.array(value)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError):
        kind = _numbers_in(array)
        end = f"; use {_array_of(name, value)}.astype({kind})" if kind else ""
        if hasattr(value, "isna") and np.asarray(value.isna()).any():
            end = f", some of them missing; use {variable_of(name)}.fillna(...)"
        raise InputError(f"{name}: expected an array of numbers, got {what(value)}{end}") from None


def _numbers_in(array: np.ndarray | None) -> str:
    """What text such as "7", or a table's column of Python's numbers, converts to as it is: int, else float."""
    for kind in (int, float):
        with suppress(TypeError, ValueError, OverflowError):
            if array is not None and array.size and (array.astype(kind).astype(float) == array.astype(float)).all():
                return kind.__name__
    return ""


def _array_of(name: str, value: Any) -> str:
    """How a message writes the value as an array."""
    variable = variable_of(name)
    return variable if hasattr(value, "dtype") or hasattr(value, "dtypes") else f"numpy.array({variable})"


def floats(named: Mapping[str, Any]) -> list[Tensor]:
    """Arrays as tensors of one precision on one device; those that are called Y may be whole numbers."""
    devices = {str(value.device) if isinstance(value, Tensor) else "cpu" for value in named.values()}
    if len(devices) > 1:
        raise InputError(f"{', '.join(named)}: expected arrays on one device, got {' and '.join(sorted(devices))}")
    tensors = {name: tensor(name, value) for name, value in named.items()}
    inputs = {name: value for name, value in tensors.items() if name != "Y"}
    precisions = set()
    for name, value in inputs.items():
        if value.dtype not in PRECISIONS:
            array = _array_of(name, named[name])
            end = f"grey levels from 0 to 255 as {array} / 255, other whole numbers as {array} * 1.0"
            if value.is_floating_point():
                end = f"use {array}.float()" if isinstance(named[name], Tensor) else f"use {array}.astype('float32')"
            raise InputError(f"{name}: expected float32 or float64, got {what(value)}; {end}")
        if hasattr(named[name], "dtype") or hasattr(named[name], "dtypes"):
            precisions.add(value.dtype)
    common = torch.float64 if torch.float64 in precisions else torch.float32
    return [value.to(common) for value in tensors.values()]
