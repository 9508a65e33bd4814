"""What public functions take and refuse: names in tables, and arrays that fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from nnlib.arrays import PRECISIONS, floats, variable_of
from nnlib.errors import InputError
from nnlib.records import what


def choose(table: Mapping[str, Any], name: Any, argument: str) -> Any:
    """The entry of a table.

    Raises
    ------
    InputError
        If there is none of that name; the message has the argument and what it may be.
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


def pair(value: Any, names: str) -> tuple[Any, Any]:
    """Two values, such as X and Y."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"expected a pair ({names}), got {what(value)}")
    return value[0], value[1]


def fit(**arrays: tuple[Any, str]) -> list[Tensor]:
    """Arrays as tensors of one precision, if their shapes fit: an axis of one name has one size in all of them.

        A, W, b = fit(A=(A, "in m"), W=(W, "out in"), b=(b, "out 1"))

    The names are those of the last axes; the axes before them are the same in all arrays, or left out. "..." stands for
    any shape.

    Raises
    ------
    InputError
        If a value is not an array, is empty or does not fit; the message names it.
    """
    values = [value for value, _ in arrays.values()]
    kinds = {
        (value.dtype, value.device, value.layout, value.is_nested) if type(value) is Tensor else None
        for value in values
    }
    if len(kinds) != 1 or not _usual(*kinds):
        values = floats({name: value for name, (value, _) in arrays.items()})
    if any(torch.is_autocast_enabled(value.device.type) for value in values):
        raise InputError("torch.autocast: expected none, since it would compute in another precision than the arrays'")
    _check_shapes(
        tuple([(name, axes, value.shape) for (name, (_, axes)), value in zip(arrays.items(), values, strict=True)])
    )
    return values


def _usual(kind: tuple[torch.dtype, torch.device, torch.layout, bool] | None) -> bool:
    """Whether tensors of that precision, device and layout, nested or not, are taken as they are."""
    if kind is None:
        return False
    dtype, device, layout, nested = kind
    return dtype in PRECISIONS and device.type != "meta" and layout is torch.strided and not nested


@lru_cache  # a training loop asks again and again for the same few
def _check_shapes(arrays: tuple[tuple[str, str, tuple[int, ...]], ...]) -> None:
    sizes: dict[str, Any] = {"1": 1}
    leading: tuple[int, ...] = ()
    leader = ""
    for name, axes, shape in arrays:
        names = axes.replace("...", "").split()
        before = len(shape) - len(names)
        expected = [sizes.get(axis, axis) for axis in names]
        if 0 in shape or not _fits(expected, shape[before:]):
            text = f"({', '.join(['...', *map(str, expected)])})" + ", none of them 0" * (0 in shape)
            raise InputError(f"{name}: expected {text}, got {tuple(shape)}{remedy(name, expected, shape)}")
        if before and leading not in ((), shape[:before]):
            raise InputError(f"{name}: expected first axes {leading}, as {leader} has, or none, got {tuple(shape)}")
        if before:
            leading, leader = tuple(shape[:before]), name
        sizes.update(zip(names, shape[before:], strict=True))


def _fits(expected: Sequence[Any], shape: Sequence[int]) -> bool:
    """Whether axes have those sizes; a name stands for any."""
    return len(expected) == len(shape) and all(
        isinstance(size, str) or size == got for size, got in zip(expected, shape, strict=True)
    )


def remedy(name: str, expected: Sequence[Any], shape: Sequence[int]) -> str:
    """The end of a message: what makes an array of that shape fit, where that is likely to be meant."""
    variable = variable_of(name)
    if len(shape) == 1:
        ways = {"X": "; one example is X[:, None]", "Y": "; labels go through nnlib.one_hot(Y)"}
        biases = [*expected[1:]] == [1] and _fits(expected, (*shape, 1))
        return ways.get(variable, f"; {variable}[:, None] would fit" if biases else "")
    if len(shape) == 2 and _fits(expected, shape[::-1]):
        return f"; {variable}.T would fit"
    if variable == "Y" and len(shape) == 2 and 1 in shape:
        return "; labels go through nnlib.one_hot(numpy.ravel(Y))"
    images = variable == "X" and len(shape) > 2 and prod(shape[1:]) == expected[0]
    return "; images go through nnlib.flatten(X)" if images else ""


def check_one_hot(name: str, Y: Tensor) -> None:
    """Refuse labels (..., classes, m) that have not a single 1 in each column, and else 0."""
    wrong = ((Y != 0) & (Y != 1)).any(-2) | (Y.sum(-2) != 1)
    if wrong.any():
        column = Y.mT[wrong][0].tolist()
        raise InputError(f"{name}: expected a single 1 in each column, the rest 0, got {what(column)}")


def layers(parameters: Any) -> int:
    """How many layers a network's parameters W1, b1, ..., WL, bL have."""
    if not isinstance(parameters, Mapping):
        raise InputError(f"parameters: expected a dictionary W1, b1, ..., WL, bL, got {what(parameters)}")
    L = len(parameters) // 2
    if not L or set(parameters) != {f"{letter}{layer}" for letter in "Wb" for layer in range(1, L + 1)}:
        raise InputError(f"parameters: expected W1, b1, ..., WL, bL, got {', '.join(map(str, parameters)) or 'none'}")
    return L


def network(X: Any, parameters: Any, *Y: Any) -> tuple[Any, ...]:
    """X, the parameters and, if given, labels Y as tensors: X fits the first layer, each layer the next, Y the last."""
    L = layers(parameters)
    axes = {f"W{layer + 1}": f"n{layer + 1} n{layer}" for layer in range(L)}
    axes |= {f"b{layer + 1}": f"n{layer + 1} 1" for layer in range(L)}
    named = {f"parameters: {name}": (parameters[name], axes[name]) for name in parameters}
    # X and Y last, so that if they do not fit the network, the message blames them and not the network.
    named |= {name: (value, f"{n} m") for name, value, n in zip("XY", (X, *Y), ("n0", f"n{L}"), strict=False)}
    values = fit(**named)
    return values[2 * L], dict(zip(parameters, values, strict=False)), *values[2 * L + 1 :]
