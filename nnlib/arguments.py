"""What public functions take and what they refuse. What is refused is named before anything is computed."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from reprlib import repr as short
from typing import Any, TypeVar

import numpy as np

from nnlib.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
Check = Callable[[str, Any], Any]


def takes(**checks: Check) -> Callable[[F], F]:
    """A decorator: the named arguments go through their checks, `check(name, value) -> value`."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, check in checks.items():
                bound.arguments[name] = check(name, bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return checked  # type: ignore[return-value]

    return decorate


MOST = 2**63 - 1  # of 64 bits, which tensors and files have for whole numbers


def whole(least: int = 0, most: int | None = MOST) -> Check:
    """A check for a whole number from `least` to `most`; 32.0 is none, nor is True."""
    end = {None: "", MOST: ", below 2**63"}.get(most, f" to {most}")
    expected = f"a whole number from {least}{end}"
    return _number(Integral, int, expected, lambda value: least <= value and (most is None or value <= most))


def _number(kind: type, plain: type, expected: str, fits: Callable[[Any], bool]) -> Check:
    def check(name: str, value: Any) -> Any:
        # A NumPy number, or an array of no axes, is as good as Python's.
        number = value.item() if getattr(value, "ndim", None) == 0 else value
        if isinstance(number, bool) or not isinstance(number, kind) or not fits(number):
            raise InputError(f"{name}: expected {expected}, got {what(value)}")
        return plain(number)

    return check


LARGEST = sys.float_info.max

not_negative = _number(Real, float, "a finite number that is not negative", lambda value: 0 <= value <= LARGEST)
positive = _number(Real, float, "a finite number above 0", lambda value: 0 < value <= LARGEST)
finite = _number(Real, float, "a finite number", lambda value: -LARGEST <= value <= LARGEST)
number = _number(Real, float, "a number", lambda value: value == value)
fraction = _number(Real, float, "a fraction between 0 and 1", lambda value: 0 < value < 1)


def truth(name: str, value: Any) -> bool:
    """The value, if it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name}: expected True or False, got {what(value)}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """The value, if it is text, and not blank."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name}: expected text, got {what(value)}")
    return value


def choose(table: Mapping[str, Any], name: Any, argument: str) -> Any:
    """The entry of a table, or a ValueError that names the argument and lists what it may be."""
    if not isinstance(name, str) or name not in table:
        raise InputError(f"{argument}: expected one of {', '.join(map(repr, table))}, got {what(name)}")
    return table[name]


def one_of(table: Mapping[str, Any]) -> Check:
    """A check for a name in the table."""

    def check(name: str, value: Any) -> str:
        choose(table, value, name)
        return value

    return check


def units(name: str, value: Any) -> list[int]:
    """The units of every layer as a list, if there are two or more layers of one or more units."""
    try:
        dims = [whole(1)(name, one) for one in value]
    except (TypeError, InputError):
        dims = []
    if len(dims) < 2:
        raise InputError(f"{name}: expected two or more layers of one or more units, got {what(value)}")
    return dims


seed = whole(most=None)


def seeds(name: str, value: Any) -> Sequence[int]:
    """One seed or more, whole numbers that are not negative."""
    if isinstance(value, range) and value and min(value[0], value[-1]) >= 0:
        return value
    try:
        many = [seed(name, one) for one in value]
    except TypeError:
        many = []
    if not many:
        raise InputError(f"{name}: expected one seed or more, got {what(value)}")
    return many


def seed_or_seeds(name: str, value: Any) -> int | Sequence[int]:
    """One seed, or a list of them."""
    alone = isinstance(value, Integral) or getattr(value, "ndim", None) == 0
    return seed(name, value) if alone else seeds(name, value)


def a(kind: type) -> Check:
    """A check for an object of this kind."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise InputError(f"{name}: expected a {kind.__name__}, got {what(value)}")
        return value

    return check


def function(name: str, value: Any) -> Any:
    """The value, if it can be called."""
    if not callable(value):
        raise InputError(f"{name}: expected a function, got {what(value)}")
    return value


def optional(check: Check) -> Check:
    """A check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """The value, if it is a tuple or a list of two."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{name}: expected a pair of arrays, got {what(value)}")
    return value[0], value[1]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name before the message of what is refused inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def what(value: Any) -> str:
    """What came, in a few words, for a message: of an array its type and shape."""
    if hasattr(value, "dtype") and getattr(value, "shape", None):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return short(value)
