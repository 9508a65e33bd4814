"""Is a backward the derivative of its forward? Any pair against centred differences, nnlib's or one of your own.

A backward takes dOutput, the upstream gradient, and gives for every input the derivatives of one number,
Σ dOutput ⊙ output. So move one entry x of one input by h either way and watch that number:

    dx ≈ Σ dOutput ⊙ (output(x + h) − output(x − h)) / 2h, with an error of order h².

dOutput is random, not all ones: what comes out of a softmax or a batch norm adds up to the same number whatever goes
in, so with ones the derivatives are 0 and many a wrong backward passes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, inf, isfinite
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnlib.errors import InputError
from nnlib.records import Count, Positive, Seed, checked

FUNCTION = Callable[..., Any]
# An error that so many roundings of the output could cause is not held against a backward.
ROUNDINGS = 8

Points = dict[str, np.ndarray]


class WorstEntry(NamedTuple):
    """Where a gradient is farthest from the differences: the entry, both derivatives, and their relative error."""

    entry: tuple[int, ...]
    expected: float
    got: float
    error: float


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found: true if every gradient is right, a table when printed.

    Attributes
    ----------
    worst : for each input its `WorstEntry`
    tolerance : the largest relative error that counts as right
    """

    worst: dict[str, WorstEntry]
    tolerance: float

    @property
    def wrong(self) -> list[str]:
        """The inputs whose gradient is wrong."""
        return [name for name, worst in self.worst.items() if worst.error > self.tolerance]

    def __bool__(self) -> bool:
        return not self.wrong

    def __repr__(self) -> str:
        rows = [("input", "worst entry", "by differences", "by backward", "relative error")]
        for name, (entry, expected, got, error) in self.worst.items():
            rows.append((name, str(entry), f"{expected:.9g}", f"{got:.9g}", f"{error:.1e}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        verdict = f"wrong: {', '.join(self.wrong)}" if self.wrong else "all right"
        return "\n".join([*lines, f"{verdict} (tolerance {self.tolerance:g})"])


def check_gradients(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    upstream: Any = None,
    seed: int = 0,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    entries: int | None = None,
) -> GradientReport:
    """Compare the gradients of a backward with centred differences of its forward, in float64.

    Parameters
    ----------
    forward : `forward(*inputs)` gives an output of any shape, or (output, cache). Where it gives no cache, the cache is
        the input, or the tuple of inputs.
    backward : `backward(dOutput, cache)` gives the gradients of the inputs in their order, one alone or a tuple, each
        in the shape of its input
    inputs : a list of arrays or tensors; the functions get float64 copies of the same kind. Or a dictionary, such as a
        network's parameters: then forward gets a dictionary, and backward gives one with `dW1` for `W1` and so on; what
        else is in it plays no part.
    upstream : dOutput, in the shape of the output; if None, numbers from N(0, 1), or 1 for an output of shape ()
    seed : of the random numbers
    step : how far an entry is moved, times its own size where that is above 1
    tolerance : the largest relative error that counts as right
    entries : how many entries of each input to try, drawn at random; if None, all. Each takes two forward passes.

    Returns
    -------
    A report: true if all gradients are right, a table when printed. An error is relative to the largest derivative of
    its input; one that the rounding of the output can explain stays within the tolerance.

    Raises
    ------
    InputError
        If an argument, or what a function gives back, is not as described; the message names it.

    Notes
    -----
    Where a step crosses a kink, such as ReLU's at Z = 0, a right backward looks wrong. Derivatives a billion times
    smaller than the output are lost in its rounding: choose inputs that keep them near 1.

    Examples
    --------
    A layer of nnlib, as it stands:

    >>> import torch
    >>> from nnlib import apply_batchnorm, check_gradients, exact_batchnorm_backward
    >>> generator = torch.Generator().manual_seed(0)
    >>> A, W, b = (torch.randn(shape, generator=generator) for shape in ((4, 6), (3, 4), (3, 1)))
    >>> bool(check_gradients(apply_batchnorm, exact_batchnorm_backward, [A]))
    True

    The dW and db of a linear layer are of the cost averaged over its m examples, while dA and dZ are not yet divided by
    m. Where a backward has such a convention, undo it in the function that you hand over:

    >>> from nnlib import linear_backward, linear_forward
    >>> def backward(dZ, cache):
    ...     dA, dW, db = linear_backward(dZ, cache)
    ...     m = dZ.shape[-1]
    ...     return dA, m * dW, m * db
    >>> bool(check_gradients(linear_forward, backward, [A, W, b]))
    True

    A whole network, from its parameters to its cost:

    >>> from nnlib import compute_cost, initialize_parameters, l_model_backward, l_model_forward
    >>> X, Y = A.double(), torch.eye(3, dtype=torch.float64).repeat(1, 2)
    >>> def cost(parameters):
    ...     AL, caches = l_model_forward(X, parameters)
    ...     return compute_cost(AL, Y, parameters, L2=0.1), (AL, caches)
    >>> def gradients(dcost, cache):
    ...     AL, caches = cache
    ...     return l_model_backward(AL, Y, caches, L2=0.1)
    >>> bool(check_gradients(cost, gradients, initialize_parameters([4, 5, 3])))
    True
    """
    forward, backward = checked("forward", forward, FUNCTION), checked("backward", backward, FUNCTION)
    step, tolerance = checked("step", step, Positive), checked("tolerance", tolerance, Positive)
    seed, entries = checked("seed", seed, Seed), checked("entries", entries, Count | None)
    if step < np.finfo(float).eps:
        raise InputError(f"step: expected a step that moves a number near 1, got {step}")
    # A stream of its own: that of `default_rng(seed)` may have made the inputs, and dOutput must not be one of them.
    (generator,) = np.random.default_rng(seed).spawn(1)
    given = _by_name(forward, inputs)
    whole = isinstance(inputs, Mapping)
    points = {name: _numbers(f"inputs: {name}", value) for name, value in given.items()}

    def run(points: Points) -> tuple[Any, np.ndarray, Any]:
        """The output as forward gives it, its numbers, and the cache; forward gets copies, to do with as it likes."""
        copies = {name: _of_kind(given[name], point) for name, point in points.items()}
        output, cache = _output_and_cache(forward, [copies] if whole else list(copies.values()))
        return output, _numbers("forward: output", output, exact=True), cache

    output, numbers, cache = run(points)
    if upstream is None:
        dOutput = generator.standard_normal(numbers.shape) if numbers.ndim else np.ones(())
    else:
        dOutput = _numbers("upstream", upstream, shape=numbers.shape)
    gradients = _gradients(backward(_of_kind(output, dOutput), cache), points, whole)

    def difference(name: str, place: int, h: float) -> float:
        """The centred difference for one entry of one input."""
        ahead, behind = points[name].copy(), points[name].copy()
        ahead.flat[place] += h
        behind.flat[place] -= h
        change = run(points | {name: ahead})[1] - run(points | {name: behind})[1]
        return (dOutput * change).sum() / (ahead.flat[place] - behind.flat[place])

    with np.errstate(over="ignore"):
        # hypot scales its terms, so it overflows only if the result does.
        rounding = ROUNDINGS * np.finfo(float).eps * hypot(*(dOutput * numbers).flat)
    if not isfinite(rounding):
        raise InputError("forward: expected an output whose product with upstream does not overflow")
    worst = {}
    for name, point in points.items():
        places = np.sort(generator.permutation(point.size)[:entries])
        steps = step * np.maximum(1, np.abs(point.flat[places]))
        expected = np.array([difference(name, place, h) for place, h in zip(places, steps, strict=True)])
        got = gradients[name].flat[places]
        scale = np.maximum(np.abs(expected).max(), rounding / steps / tolerance) + np.finfo(float).tiny
        with np.errstate(over="ignore"):
            errors = np.nan_to_num(np.abs(got - expected) / scale, nan=inf, posinf=inf)
        k = errors.argmax()
        entry = tuple(int(index) for index in np.unravel_index(places[k], point.shape))
        worst[name] = WorstEntry(entry, float(expected[k]), float(got[k]), float(errors[k]))
    return GradientReport(worst, tolerance)


def _by_name(forward: Callable[..., Any], inputs: Any) -> dict[str, Any]:
    """The inputs by a dictionary's names, else by those of forward's parameters where these can be known."""
    if not isinstance(inputs, Mapping | list | tuple):
        raise InputError(f"inputs: expected a list or a dictionary of arrays, got {type(inputs).__name__}")
    if not inputs:
        raise InputError("inputs: expected one array or more, got none")
    if isinstance(inputs, Mapping):
        return dict(inputs)
    try:
        parameters = inspect.signature(forward).parameters.values()
        names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    except ValueError:  # a function written in C
        names = []
    if len(names) < len(inputs):
        names = [f"input {k}" for k in range(len(inputs))]
    return dict(zip(names, inputs, strict=False))


def _numbers(what: str, value: Any, *, shape: tuple[int, ...] | None = None, exact: bool = False) -> np.ndarray:
    """The finite numbers of an array, a tensor or a single number as float64, a copy; exact: only from float64."""
    array = _array(what, value)
    if exact and array.dtype != float:
        raise InputError(f"{what}: expected float64, since inputs are float64, got {array.dtype}")
    if shape is not None and array.shape != shape:
        raise InputError(f"{what}: expected shape {shape}, got {array.shape}")
    if not array.size:
        raise InputError(f"{what}: expected one number or more, got none")
    wrong = array[~np.isfinite(array)]
    if wrong.size:
        raise InputError(f"{what}: expected finite numbers, got {wrong.size} of {array.size} that are not: {wrong[0]}")
    return array.astype(float, order="C")


def _array(what: str, value: Any) -> np.ndarray:
    """An array, a tensor or a single number as an array of real numbers."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array = np.asarray(value)
    if not isinstance(value, np.ndarray | np.number | Real) or array.dtype.kind not in "biuf":
        raise InputError(f"{what}: expected an array or a tensor of real numbers, got {type(value).__name__}")
    return array


def _of_kind(given: Any, numbers: np.ndarray) -> Any:
    """A copy of the numbers as a tensor where a tensor was given, on its device, else as an array."""
    return torch.tensor(numbers, device=given.device) if isinstance(given, Tensor) else numbers.copy()


def _output_and_cache(forward: Callable[..., Any], arguments: list[Any]) -> tuple[Any, Any]:
    result = forward(*arguments)
    if not isinstance(result, tuple):
        return (result, *arguments) if len(arguments) == 1 else (result, tuple(arguments))
    if len(result) != 2:
        raise InputError(f"forward: expected an output or (output, cache), got {len(result)} values")
    return result


def _gradients(result: Any, points: Points, whole: bool) -> Points:
    """What backward gave, by the name of the input; numbers that are not finite are kept, to be reported."""
    if whole:
        missing = [f"d{name}" for name in points if not isinstance(result, Mapping) or f"d{name}" not in result]
        if missing:
            came = ", ".join(map(str, result)) if isinstance(result, Mapping) else type(result).__name__
            raise InputError(f"backward: expected a dictionary with {', '.join(missing)}, got {came}")
        result = [result[f"d{name}"] for name in points]
    elif not isinstance(result, tuple | list):
        result = [result]
    if len(result) != len(points):
        raise InputError(f"backward: expected {len(points)} gradients, of {', '.join(points)}, got {len(result)}")
    gradients = {name: _array(f"backward: d{name}", one) for name, one in zip(points, result, strict=True)}
    for name, gradient in gradients.items():
        if gradient.shape != points[name].shape:
            raise InputError(f"backward: d{name}: expected shape {points[name].shape}, got {gradient.shape}")
    return gradients
