"""Arrays as arguments: what is taken for one, and how those of one call fit together.

An array may be a tensor, a NumPy array or a list, but not an empty one. Its numbers are float32 or float64; where the
arrays of one call differ, all become float64. A list takes the precision of the others, float32 without others; so do
one-hot labels Y, which may be whole numbers too.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, wraps
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnlib.arguments import F, what
from nnlib.errors import InputError

# The last axes of an array, "out in"; of a tuple of arrays, those of each entry by name.
Axes = str | Mapping[str, "Axes"]

PRECISIONS = (torch.float32, torch.float64)


def precision(name: str, value: Any) -> torch.dtype:
    """torch.float32 or torch.float64."""
    if not any(value is one for one in PRECISIONS):
        raise InputError(f"{name}: expected torch.float32 or torch.float64, got {what(value)}")
    return value


def tensor(name: str, value: Any) -> Tensor:
    """Real numbers as a tensor of their own type: a tensor as it is, a NumPy array or a list as a copy."""
    if not isinstance(value, Tensor):
        try:
            array = np.array(value)
            value = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"{name}: expected an array of numbers, got {what(value)}") from None
    if value.layout is not torch.strided:
        raise InputError(f"{name}: expected a dense array, got {str(value.layout).removeprefix('torch.')}")
    if value.is_complex():
        raise InputError(f"{name}: expected an array of real numbers, got {what(value)}")
    if value.dtype in (torch.uint16, torch.uint32, torch.uint64):
        # PyTorch has next to no operations for these.
        value = value.to(torch.int64)
    return value.as_subclass(Tensor)


def floats(named: Iterable[tuple[str, Any]]) -> list[Tensor]:
    """Arrays, each with its name, as tensors of one precision."""
    named = list(named)
    tensors = [tensor(name, value) for name, value in named]
    precisions = set()
    for (name, value), one in zip(named, tensors, strict=True):
        if name != "Y" and hasattr(value, "dtype"):
            if one.dtype not in PRECISIONS:
                raise InputError(f"{name}: expected float32 or float64, got {what(value)}")
            precisions.add(one.dtype)
    precision = torch.float64 if torch.float64 in precisions else torch.float32
    return [one.to(precision) for one in tensors]


class Shapes:
    """How arrays fit together, by the names of their last axes: an axis has one size in all of them.

    `Shapes({"A": "in m", "W": "out in", "b": "out 1"})`. The axes before those are left out, or the same in all arrays;
    "..." stands for any shape.
    """

    def __init__(self, axes: Mapping[str, Axes]) -> None:
        self.axes = axes
        self.leaves = list(_leaves(axes))
        # A loop calls with the same few shapes again and again.
        self.fit = lru_cache(maxsize=256)(self._fit)

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """The values, their arrays as tensors of one precision, if they fit."""
        flat = _flat(self.axes, values)
        try:
            forms = tuple(map(FORM, flat))
        except AttributeError:
            forms = ()
        if not self.fit(forms):
            tensors = floats((name, value) for (name, _), value in zip(self.leaves, flat, strict=True))
            values = _nested(self.axes, iter(tensors))
            self.fit(tuple(map(FORM, tensors)))
        return values

    def _fit(self, forms: tuple[tuple[Any, Any, tuple[int, ...]], ...]) -> bool:
        """Raise a ValueError if the shapes do not fit; False if these are not the forms of tensors of one precision."""
        kinds = {(dtype, layout) for dtype, layout, _ in forms}
        if len(kinds) != 1 or not kinds <= {(one, torch.strided) for one in PRECISIONS}:
            return False
        sizes: dict[str, Any] = {"1": 1}
        leading: tuple[int, ...] = ()
        leader = ""
        for (name, axes), (_, _, shape) in zip(self.leaves, forms, strict=True):
            names = axes.replace("...", "").split()
            before = len(shape) - len(names)
            expected = [sizes.get(axis, axis) for axis in names]
            fits = [have == want or isinstance(want, str) for have, want in zip(shape[before:], expected, strict=False)]
            if before < 0 or 0 in shape or not all(fits):
                text = f"({', '.join(['...', *map(str, expected)])})" + ", none of them 0" * (0 in shape)
                raise InputError(f"{name}: expected {text}, got {tuple(shape)}")
            if before and leading not in ((), shape[:before]):
                raise InputError(f"{name}: expected first axes {leading}, as {leader} has, or none, got {tuple(shape)}")
            if before:
                leading, leader = tuple(shape[:before]), name
            sizes.update(zip(names, shape[before:], strict=True))
        return True


# What decides whether a tensor fits.
FORM = attrgetter("dtype", "layout", "shape")


class _Inside(threading.local):
    """Whether this thread is in a function whose arguments have been checked."""

    yes = False


INSIDE = _Inside()


def door(check: Callable[..., tuple[Any, ...]], count: int) -> Callable[[F], F]:
    """A decorator: a function's first arguments go through `check(*arguments) -> arguments`.

    They do so when the function is called from outside. What it calls in turn need not check again what was made of
    them, which in training would cost as much as a layer.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if INSIDE.yes:
                return function(*args, **kwargs)
            if len(args) < count:
                bound = signature.bind(*args, **kwargs)
                args, kwargs = bound.args, bound.kwargs
            args = (*check(*args[:count]), *args[count:])
            INSIDE.yes = True
            try:
                return function(*args, **kwargs)
            finally:
                INSIDE.yes = False

        return checked  # type: ignore[return-value]

    return decorate


def arrays(**axes: Axes) -> Callable[[F], F]:
    """A decorator: a function's first arguments are arrays that fit together as `Shapes` says."""
    return door(Shapes(axes), len(axes))


def _leaves(axes: Mapping[str, Axes], within: str = "") -> Iterator[tuple[str, str]]:
    """The name and the axes of every array."""
    for name, inner in axes.items():
        if isinstance(inner, str):
            yield within + name, inner
        else:
            yield from _leaves(inner, f"{within}{name}: ")


def _flat(axes: Mapping[str, Axes], values: Iterable[Any], within: str = "") -> list[Any]:
    """Every array, in the order of `_leaves`."""
    flat: list[Any] = []
    for (name, inner), value in zip(axes.items(), values, strict=True):
        if isinstance(inner, str):
            flat.append(value)
        elif isinstance(value, tuple | list) and len(value) == len(inner):
            flat += _flat(inner, value, f"{within}{name}: ")
        else:
            raise InputError(f"{within}{name}: expected ({', '.join(inner)}), got {what(value)}")
    return flat


def _nested(axes: Mapping[str, Axes], leaves: Iterator[Tensor]) -> tuple[Any, ...]:
    """The inverse of `_leaves`."""
    return tuple(next(leaves) if isinstance(inner, str) else _nested(inner, leaves) for inner in axes.values())


def network(X: Any, parameters: Any, *Y: Any) -> tuple[Any, ...]:
    """The arguments, arrays as tensors, if X fits the first layer, each layer the next, and labels Y the last."""
    if not isinstance(parameters, Mapping):
        raise InputError(f"parameters: expected a dictionary W1, b1, ..., WL, bL, got {what(parameters)}")
    names = tuple(parameters)
    shapes = _network_shapes(names, len(Y))
    X, *values = shapes(X, *parameters.values(), *Y)
    return X, dict(zip(names, values, strict=False)), *values[len(names) :]


@lru_cache
def _network_shapes(names: tuple[str, ...], labelled: bool) -> Shapes:
    """n0 features of X, n1, n2, ... units in the layers."""
    L = len(names) // 2
    axes = {f"W{layer}": f"n{layer} n{layer - 1}" for layer in range(1, L + 1)}
    axes |= {f"b{layer}": f"n{layer} 1" for layer in range(1, L + 1)}
    if not L or set(names) != set(axes):
        raise InputError(f"parameters: expected W1, b1, ..., WL, bL, got {', '.join(map(str, names)) or 'none'}")
    layers = {f"parameters: {name}": axes[name] for name in names}
    return Shapes({"X": "n0 m"} | layers | ({"Y": f"n{L} m"} if labelled else {}))


def labelled_network(X: Any, Y: Any, parameters: Any) -> tuple[Any, ...]:
    """The same with labels."""
    X, parameters, Y = network(X, parameters, Y)
    return X, Y, parameters


def forward_pass(AL: Any, Y: Any, caches: Any) -> tuple[Any, ...]:
    """The arguments, arrays as tensors, if the caches are those of a forward pass to AL."""
    try:
        lengths = tuple(map(len, caches))
    except TypeError:
        lengths = ()
    return _forward_pass_shapes(lengths)(AL, Y, caches)


@lru_cache
def _forward_pass_shapes(lengths: tuple[int, ...]) -> Shapes:
    """n0 features of the input, n1, n2, ... units in the layers."""
    *hidden, last = lengths or [None]
    if last != 2 or not {2, 3}.issuperset(hidden):
        raise InputError(
            "caches: expected those of l_model_forward, two or three entries for each hidden layer and two for the "
            f"last, got {lengths or 'none'}"
        )
    layers: dict[str, Any] = {}
    for layer, length in enumerate(lengths, start=1):
        linear = {"A_prev": f"n{layer - 1} m", "W": f"n{layer} n{layer - 1}", "b": f"n{layer} 1"}
        entries = {"linear_cache": linear, "activation_cache": f"n{layer} m", "A": f"n{layer} m"}
        layers[f"layer {layer}"] = dict(list(entries.items())[:length])
    return Shapes({"AL": f"n{len(lengths)} m", "Y": f"n{len(lengths)} m", "caches": layers})


def weights_of(parameters: Mapping[str, Any]) -> Sequence[Tensor]:
    """W1, W2, ... as tensors."""
    if not isinstance(parameters, Mapping) or not any(str(name).startswith("W") for name in parameters):
        raise InputError(f"parameters: expected a dictionary with W1, W2, ..., got {what(parameters)}")
    weights = {f"parameters: {name}": W for name, W in parameters.items() if str(name).startswith("W")}
    return Shapes({name: f"out{layer} in{layer}" for layer, name in enumerate(weights, 1)})(*weights.values())


def with_gradients(parameters: Mapping[str, Any], grads: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each parameter with its gradient, if it has one of its shape."""
    for argument, mapping in (("parameters", parameters), ("grads", grads)):
        if not isinstance(mapping, Mapping):
            raise InputError(f"{argument}: expected a dictionary of arrays, got {what(mapping)}")
    if not parameters:
        raise InputError("parameters: expected one array or more, got none")
    for name, value in parameters.items():
        if (grad := grads.get(f"d{name}")) is None:
            raise InputError(f"grads: expected d{name}, got {', '.join(map(str, grads)) or 'none'}")
        alike = type(value) is type(grad) is Tensor and FORM(value) == FORM(grad)
        if not (alike and value.dtype in PRECISIONS and value.layout is torch.strided):
            value, grad = floats([(f"parameters: {name}", value), (f"grads: d{name}", grad)])
        if value.shape != grad.shape:
            raise InputError(f"grads: expected d{name} {tuple(value.shape)}, got {tuple(grad.shape)}")
        yield name, value, grad
