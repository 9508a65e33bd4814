"""Records with a schema, on pydantic: the numbers that they may hold, and what is refused in one line.

Without torch or NumPy, which take seconds to import: whoever only checks files need not wait for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from nnlib.errors import InputError


def _plain(value: Any) -> Any:
    """A NumPy number, or an array of no axes, as Python's own."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _listed(value: Any) -> Any:
    """An array, a range or the like as a list. A set has no order, bytes are none, nor is what has several axes."""
    shape = getattr(value, "shape", None)
    if isinstance(value, Set | bytes | bytearray) or (shape and len(shape) > 1):
        raise ValueError("a list")
    listed = hasattr(value, "__len__") and shape != ()
    return list(value) if listed and not isinstance(value, str | Mapping) else value


# Whole numbers fit 64 bits, as tensors and files have them. None of these takes True, "3" or, for a whole number, 3.0.
Int = Annotated[int, Field(strict=True), BeforeValidator(_plain)]
Float = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_plain)]
Count = Annotated[Int, Field(ge=1, lt=2**63)]
NotNegativeInt = Annotated[Int, Field(ge=0, lt=2**63)]
SEEDS = 2**62  # so that seed + k has 64 bits, too
Seed = Annotated[Int, Field(ge=0, lt=SEEDS)]
# What torch's generator on the CPU tells apart.
SplitSeed = Annotated[Int, Field(ge=0, lt=2**32)]
SeedList = Annotated[tuple[Seed, ...], Field(min_length=1), BeforeValidator(_listed)]
CountList = Annotated[tuple[Count, ...], BeforeValidator(_listed)]
Positive = Annotated[Float, Field(gt=0)]
NotNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(gt=0, lt=1)]
Truth = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, pattern=r"\S")]

# What was expected, where pydantic's own words are not for people.
EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "text",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "{min_length} or more values",
    "too_long": "at most {max_length} values",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "is_instance_of": "a {class}",
    "callable_type": "a function",
    "value_error": "{error}",
}


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Refusing(ModelMetaclass):
    """Making a record with values that it refuses raises an InputError."""

    def __call__(cls, *arguments: Any, **values: Any) -> Any:
        try:
            return super().__call__(*arguments, **values)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None  # type: ignore[arg-type]


class Record(BaseModel, metaclass=_Refusing):
    """A record that does not change, with no entries but its own.

    Raises
    ------
    InputError
        In one line, for each entry that is unknown, missing or out of range: its name, what was expected, what came.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, checked as the first were."""
        return type(self)(**(dict(self) | changes))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(name: str, value: Any, kind: Any) -> Any:
    """The value as this kind of thing, a type or an annotated one.

    Raises
    ------
    InputError
        If it is not of that kind, with the name, what was expected and what came.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise InputError("; ".join(line(name, problem, kind) for problem in _problems(error))) from None


def explain(error: ValidationError, schema: type[BaseModel], renamed: Mapping[str, str] | None = None) -> str:
    """All that was refused, in one line; `renamed` has the present name of keys that are no more."""
    return "; ".join(line("", problem, schema, renamed or {}) for problem in _problems(error))


def _problems(error: ValidationError) -> list[Any]:
    """All that was refused, but not that a list is too short because some of its values were refused."""
    problems = error.errors()
    inside = {problem["loc"][:-1] for problem in problems if problem["loc"]}
    return [each for each in problems if each["type"] != "too_short" or each["loc"] not in inside]


def line(name: str, problem: Any, schema: Any, renamed: Mapping[str, str] | None = None) -> str:
    """One problem: where, what was expected, what came."""
    key = ".".join(map(str, (*([name] if name else []), *problem["loc"])))
    # A key may be any text; one line stays one line.
    key = "".join(c if c.isprintable() else "?" for c in key) or "the record"
    if problem["type"] == "missing":
        return f"{key}: expected a value, it is missing"
    if problem["type"] == "extra_forbidden":
        if renamed and key in renamed:
            return f"{key}: no such entry; it is now {renamed[key]}"
        *parents, unknown = problem["loc"]
        close = get_close_matches(str(unknown), _fields(schema, parents))
        return f"{key}: no such entry" + (f"; did you mean {close[0]!r}?" if close else "")
    if problem["type"] == "value_error" and isinstance(problem["ctx"]["error"], InputError):
        # A check of a whole record says itself which of its entries do not fit.
        return f"{key}: {problem['ctx']['error']}" if problem["loc"] else str(problem["ctx"]["error"])
    template = EXPECTED.get(problem["type"])
    expected = (
        template.format(**problem.get("ctx", {})) if template else problem["msg"].removeprefix("Input should be ")
    )
    return f"{key}: expected {expected}, got {what(problem['input'])}"


def _fields(schema: Any, parents: Iterable[Any]) -> list[str]:
    """The entries of the record that a path leads to."""
    schema = _bare(schema)
    for parent in parents:
        if hasattr(schema, "model_fields"):
            schema = schema.model_fields[parent].annotation
        else:  # the values of a mapping, or those of a list
            schema = get_args(schema)[isinstance(parent, str)]
        schema = _bare(schema)
    return list(getattr(schema, "model_fields", {}))


def _bare(schema: Any) -> Any:
    """A type without its annotations; of several, the first."""
    while get_origin(schema) in (Annotated, Union, UnionType):
        schema = get_args(schema)[0]
    return schema


def what(value: Any) -> str:
    """What came, in a few words, for a message: of an array its type and shape."""
    if not isinstance(value, type) and getattr(value, "shape", None):
        kind = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        return f"{kind} {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:50]} … {text[-20:]}"
