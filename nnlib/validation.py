"""What public functions take and refuse: arrays that fit together.

An array may be a tensor, a NumPy array, a table or a list, but not an empty one. Its numbers are float32 or float64; where
the arrays of one call differ, all become float64. Lists take the precision of the others, float32 without others; so do
one-hot labels Y, which may be whole numbers too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnlib.errors import InputError
from nnlib.records import what

PRECISIONS = (torch.float32, torch.float64)


def choose(table: Mapping[str, Any], name: Any, argument: str) -> Any:
    """The entry of a table.

    Raises
    ------
    InputError
        If there is none of that name, with the argument and what it may be.
    """
    if not isinstance(name, str) or name not in table:
        raise InputError(f"{argument}: expected one of {', '.join(map(repr, table))}, got {what(name)}")
    return table[name]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put a name before the message of what is refused inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def precision(name: str, value: Any) -> torch.dtype:
    """torch.float32 or torch.float64."""
    if not any(value is dtype for dtype in PRECISIONS):
        raise InputError(f"{name}: expected torch.float32 or torch.float64, got {what(value)}")
    return value


def tensor(name: str, value: Any) -> Tensor:
    """Real numbers as a tensor of their own type: a tensor as it is, all else as a copy on the CPU."""
    if not isinstance(value, Tensor):
        if hasattr(value, "toarray"):
            raise InputError(f"{name}: expected a dense array, got a sparse one; use {name}.toarray()")
        try:
            array = np.array(value)
            value = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        except (TypeError, ValueError, RuntimeError):
            way = f"; for text such as '7' use {name}.astype(int)" if getattr(value, "size", None) else ""
            raise InputError(f"{name}: expected an array of numbers, got {what(value)}{way}") from None
    if value.layout is not torch.strided:
        raise InputError(f"{name}: expected a dense array, got a sparse one; use {name}.to_dense()")
    if value.is_complex():
        raise InputError(f"{name}: expected an array of real numbers, got {what(value)}")
    if value.dtype in (torch.uint16, torch.uint32, torch.uint64):
        # PyTorch has next to no operations for these.
        value = value.to(torch.int64)
    return value.as_subclass(Tensor)


def floats(named: Mapping[str, Any]) -> list[Tensor]:
    """Arrays as tensors of one precision; those that are called Y may be whole numbers."""
    tensors = {name: tensor(name, value) for name, value in named.items()}
    precisions = set()
    for name, value in tensors.items():
        if name == "Y":
            continue
        if value.dtype not in PRECISIONS:
            raise InputError(
                f"{name}: expected float32 or float64, got {what(value) if value.ndim else value.dtype}; numbers as "
                f"{name} * 1.0, grey levels from 0 to 255 as {name} / 255"
            )
        if hasattr(named[name], "dtype") or hasattr(named[name], "dtypes"):
            precisions.add(value.dtype)
    common = torch.float64 if torch.float64 in precisions else torch.float32
    return [value.to(common) for value in tensors.values()]


def fit(**arrays: tuple[Any, str]) -> list[Tensor]:
    """Arrays as tensors of one precision, if their shapes fit: an axis of one name has one size in all of them.

        A, W, b = fit(A=(A, "in m"), W=(W, "out in"), b=(b, "out 1"))

    The names are those of the last axes; the axes before them are the same in all arrays, or left out. "..." stands for
    any shape.

    Raises
    ------
    InputError
        If an array is none, is empty or does not fit, with its name.
    """
    values = [value for value, _ in arrays.values()]
    kinds = {(value.dtype, value.layout) if type(value) is Tensor else None for value in values}
    if kinds != {(torch.float32, torch.strided)} and kinds != {(torch.float64, torch.strided)}:
        values = floats({name: value for name, (value, _) in arrays.items()})
    _check_shapes(
        tuple([(name, axes, value.shape) for (name, (_, axes)), value in zip(arrays.items(), values, strict=True)])
    )
    return values


@lru_cache(maxsize=4096)  # a training loop asks again and again for the same few
def _check_shapes(arrays: tuple[tuple[str, str, tuple[int, ...]], ...]) -> None:
    sizes: dict[str, Any] = {"1": 1}
    leading: tuple[int, ...] = ()
    leader = ""
    for name, axes, shape in arrays:
        names = axes.replace("...", "").split()
        before = len(shape) - len(names)
        expected = [sizes.get(axis, axis) for axis in names]
        fits = [size in (got, axis) for size, got, axis in zip(expected, shape[before:], names, strict=False)]
        if before < 0 or 0 in shape or not all(fits):
            text = f"({', '.join(['...', *map(str, expected)])})" + ", none of them 0" * (0 in shape)
            raise InputError(f"{name}: expected {text}, got {tuple(shape)}")
        if before and leading not in ((), shape[:before]):
            raise InputError(f"{name}: expected first axes {leading}, as {leader} has, or none, got {tuple(shape)}")
        if before:
            leading, leader = tuple(shape[:before]), name
        sizes.update(zip(names, shape[before:], strict=True))


def layers(parameters: Any) -> int:
    """How many layers a network's parameters W1, b1, ..., WL, bL have."""
    if not isinstance(parameters, Mapping):
        raise InputError(f"parameters: expected a dictionary W1, b1, ..., WL, bL, got {what(parameters)}")
    L = len(parameters) // 2
    if not L or set(parameters) != {f"{letter}{layer}" for letter in "Wb" for layer in range(1, L + 1)}:
        raise InputError(f"parameters: expected W1, b1, ..., WL, bL, got {', '.join(map(str, parameters)) or 'none'}")
    return L


def network(X: Any, parameters: Any, Y: Any = None) -> tuple[Any, ...]:
    """X, the parameters and labels Y, if given, as tensors: X fits the first layer, each layer the next, Y the last."""
    L = layers(parameters)
    axes = {f"W{layer}": f"n{layer} n{layer - 1}" for layer in range(1, L + 1)}
    axes |= {f"b{layer}": f"n{layer} 1" for layer in range(1, L + 1)}
    named = {"X": (X, "n0 m")} | {f"parameters: {name}": (parameters[name], axes[name]) for name in parameters}
    X, *values = fit(**named, **({} if Y is None else {"Y": (Y, f"n{L} m")}))
    return X, dict(zip(parameters, values, strict=False)), *values[2 * L :]
