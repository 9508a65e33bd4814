"""params.yaml, checked at the door of every stage against one schema."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML, YAMLError

from nnlib.core.model import INITIALIZATIONS
from nnlib.core.training import STOPPING_RULES
from nnlib.data.dataset import POOLS
from nnlib.errors import InputError


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def _not_too_small(value: float) -> float:
    if 0 < value < 1e-37:
        raise ValueError("0, or a number of at least 1e-37")
    return abs(value)  # −0 is 0


# Whole numbers have 64 bits in tensors and files.
Count = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1, lt=2**63)]
AtLeastTwo = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=2, lt=2**63)]
# The upper bound only keeps a slip of the finger from filling the memory; what fits is checked before training.
Replicas = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1, le=100_000)]
# So that the last replica's seed has 64 bits, too.
Seed = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0, lt=2**62)]
# Networks compute in float32, which ends at 3.4e38, and below 1e-38 is less exact, or 0.
Rate = Annotated[float, BeforeValidator(_not_a_bool), Field(ge=1e-37, le=1e38, allow_inf_nan=False)]
Strength = Annotated[
    float, BeforeValidator(_not_a_bool), Field(ge=0, le=1e38, allow_inf_nan=False), AfterValidator(_not_too_small)
]
# None stands for auto, as many as there are cores.
Threads = Annotated[Count | None, BeforeValidator(lambda value: None if value == "auto" else value)]
Truth = Annotated[bool, Field(strict=True)]
Fraction = Annotated[float, BeforeValidator(_not_a_bool), Field(gt=0, lt=1)]

# What was expected, where pydantic's own words are not for people.
EXPECTED = {
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_parsing_size": "a whole number of 64 bits",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "model_type": "a section of parameters",
    "too_short": "at least {min_length} values",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_pattern_mismatch": "a name of small letters, digits and hyphens, a letter first",
    "value_error": "{error}",
}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocess(Section):
    pool: Literal[POOLS]  # type: ignore[valid-type]
    examples: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0, le=70_000)]
    test: Fraction
    validation: Fraction
    seed: Seed


def _mnist(layers_dims: list[int]) -> list[int]:
    if (layers_dims[0], layers_dims[-1]) != (784, 10):
        raise ValueError("784 pixels first and 10 classes last")
    return layers_dims


class Network(Section):
    layers_dims: Annotated[list[Count], Field(min_length=2), AfterValidator(_mnist)]
    initialization: Literal[tuple(INITIALIZATIONS)]  # type: ignore[valid-type]


class Stopping(Section):
    rule: Literal[tuple(STOPPING_RULES)]  # type: ignore[valid-type]
    look_every: Count
    patience: Count
    threshold: Strength


def _different(values: list[Any]) -> list[Any]:
    # Cells are named after their values, of which numbers with a point are written with six digits.
    if len({f"{value:g}" if isinstance(value, float) else value for value in values}) < len(values):
        raise ValueError("values that differ in their first six digits")
    return values


class Grid(Section):
    batch_size: Annotated[list[Count], Field(min_length=1), AfterValidator(_different)]
    epochs: Annotated[list[Count], Field(min_length=1), AfterValidator(_different)]
    l2: Annotated[list[Strength], Field(min_length=1), AfterValidator(_different)]


class Change(Section):
    """What is not as the protocol has it; by alias, as `Settings` calls it."""

    initialization: Literal[tuple(INITIALIZATIONS)] | None = Field(None, serialization_alias="rule")  # type: ignore[valid-type]
    patience: Count | None = None
    reshuffle: Truth | None = None


# Of a folder.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]


class Alternatives(Section):
    replicas: Replicas
    changes: Annotated[dict[Name, Change], Field(min_length=1)]


class Timing(Section):
    rounds: AtLeastTwo
    steps: Count


class Evidence(Section):
    confidence: Fraction
    draws: Count
    seed: Seed
    early_steps: Count
    early_epochs: Count
    collapsed_below: Fraction


class Parameters(Section):
    seed: Seed
    replicas: Replicas
    device: Literal["auto", "cpu", "cuda"]
    threads: Threads
    l2: Strength
    learning_rate: Rate
    epochs: Count
    batch_size: Count
    reshuffle: Truth
    network: Network
    stopping: Stopping
    preprocess: Preprocess
    grid: Grid
    timing: Timing
    alternatives: Alternatives
    evidence: Evidence


def check(raw: Any) -> Parameters:
    """The parameters in a mapping as read from YAML.

    Raises
    ------
    InputError
        With a line for each key that is unknown, missing or out of range: its name, what was expected, what came.
    """
    try:
        return Parameters.model_validate(raw)
    except ValidationError as error:
        raise InputError("; ".join(_line(problem) for problem in error.errors())) from None


def _line(problem: Any) -> str:
    # A key may be any text; one line stays one line.
    key = "".join(c if c.isprintable() else "?" for c in ".".join(map(str, problem["loc"]))) or "the file"
    if problem["type"] == "missing":
        return f"{key}: expected a value, it is missing"
    if problem["type"] == "extra_forbidden":
        *parents, name = problem["loc"]
        section: Any = Parameters
        for parent in parents:
            # A section of its own, or any name's in a mapping.
            is_section = hasattr(section, "model_fields")
            section = section.model_fields[parent].annotation if is_section else get_args(section)[1]
        close = get_close_matches(str(name), section.model_fields, n=1)
        return f"{key}: no such parameter" + (f"; did you mean {close[0]!r}?" if close else "")
    own = problem["msg"].removeprefix("Input should be ")
    expected = EXPECTED.get(problem["type"], own).format(**problem.get("ctx", {}))
    return f"{key}: expected {expected}, got {problem['input']!r}"


def load(path: str | Path = "params.yaml") -> Parameters:
    """The checked parameters of the file, read as DVC reads it: YAML 1.2.

    Raises
    ------
    InputError
        If the file is not YAML or `check` refuses it.
    """
    raw = read_yaml(path)
    try:
        return check(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def experiments() -> dict[str, Any]:
    """The experiments in dvc.yaml as they stand there, by what their runs are called."""
    return {f"experiment-{key}": item for key, item in read_yaml("dvc.yaml")["stages"]["experiment"]["foreach"].items()}


def read_yaml(path: str | Path) -> Any:
    """The contents of a YAML 1.2 file."""
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: expected UTF-8, {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_yaml(text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    # A tag that does not fit its value is any error to ruamel.
    except (YAMLError, ValueError, LookupError, AssertionError, RecursionError) as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}") from None
