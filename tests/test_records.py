"""What a record takes, what it refuses, and how it says so: one line that names the entry."""

from typing import Annotated

import numpy as np
import pytest
import torch
from pydantic import Field

from nnlib import InputError, Settings
from nnlib.records import (
    Count,
    Float,
    Fraction,
    Int,
    NotNegative,
    NotNegativeInt,
    Positive,
    Record,
    Seed,
    SeedList,
    SplitSeed,
    Text,
    Truth,
    checked,
    explain,
    what,
)

DIMS = (6, 5, 3)


class Part(Record):
    size: Count = 1
    sizes: Count = 1


class Whole(Record):
    part: Part = Part()
    named: dict[str, Part] = Field(default_factory=dict)
    listed: tuple[Part, ...] = ()
    seeds: SeedList = (0,)


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (Int, [-3, 0, 2**70, np.int32(4), torch.tensor(4)], [1.0, True, "3", None, np.float64(2), torch.tensor(True)]),
        (Float, [-3, 0.5, np.float32(0.5), torch.tensor(0.5)], [np.nan, np.inf, True, "3", None, [1.0]]),
        (Count, [1, 2**63 - 1], [0, 2**63]),
        (Seed, [0, 2**62 - 1], [-1, 2**62]),
        (SplitSeed, [0, 2**32 - 1], [-1, 2**32]),
        (NotNegativeInt, [0, 2**63 - 1], [-1, 2**63]),
        (NotNegative, [0, 0.5], [-0.5]),
        (Positive, [1e-300, 0.5], [0, -0.5]),
        (Fraction, [1e-9, 0.999], [0, 1, -0.5]),
        (Truth, [True, False], [0, "yes", None]),
        (Text, ["a"], ["", "  ", 3]),
        (SeedList, [[3], (3, 4), range(3), np.array([3, 4]), torch.tensor([3, 4])], [[], 3, "34", [-1], [0.5]]),
    ],
)
def test_a_kind_of_value_takes_its_range_and_nothing_else(kind, taken, refused):
    for value in taken:
        assert checked("name", value, kind) == (tuple(value) if kind is SeedList else value)
    for value in refused:
        with pytest.raises(InputError, match=r"^name[.0-9]*: expected .*, got "):
            checked("name", value, kind)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"part": {"size": 0}}, "part.size: expected a number of at least 1, got 0"),
        ({"part": {"sice": 1}}, "part.sice: no such entry; did you mean 'size'?"),
        ({"named": {"a": {"sice": 1}}}, "named.a.sice: no such entry; did you mean 'size'?"),
        ({"listed": [{}, {"sice": 1}]}, "listed.1.sice: no such entry; did you mean 'size'?"),
        # Not that the list is too short without it.
        ({"seeds": [-1]}, "seeds.0: expected a number of at least 0, got -1"),
        ({"other\n": 1}, "other?: no such entry"),
        ({"part": None}, "part: expected a mapping, got None"),
        (
            {"part": {"size": 1.5}, "prt": 3},
            "part.size: expected a whole number, got 1.5; prt: no such entry; did you mean 'part'?",
        ),
    ],
)
def test_what_is_refused_is_one_line_with_every_fault(given, line):
    with pytest.raises(InputError) as error:
        Whole(**given)
    assert str(error.value) == line


def test_a_value_that_is_a_record_is_refused_with_its_own_name_before():
    with pytest.raises(InputError, match=r"^name\.part\.sice: no such entry; did you mean 'size'\?$"):
        checked("name", {"part": {"sice": 1}}, Annotated[Whole, Field()])


def test_a_key_that_has_another_name_now_is_refused_with_it():
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as error:
        Whole.model_validate({"piece": 1, "other": 2})
    assert (
        explain(error.value, Whole, {"piece": "part"}) == "piece: no such entry; it is now part; other: no such entry"
    )


def test_a_record_stays_as_it_was_made_and_a_changed_copy_is_checked():
    settings = Settings(layers_dims=DIMS)
    with pytest.raises(ValueError, match="frozen"):
        settings.epochs = 3
    assert settings.replace(epochs=3) == Settings(layers_dims=list(DIMS), epochs=3)
    assert settings.epochs == 100
    with pytest.raises(InputError, match=r"^epochs: "):
        settings.replace(epochs=-1)


def test_what_came_is_told_in_a_few_words_on_one_line():
    assert what(torch.zeros(2, 3)) == "float32 (2, 3)"
    assert what(np.float64(2.5)) == repr(np.float64(2.5))
    assert what("a\nb") == r"'a\nb'"
    assert len(what([0] * 1000)) < 90
