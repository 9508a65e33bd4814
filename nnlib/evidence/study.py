"""A study as data: its protocol, its runs, the numbers that it printed, what it claims, and how it was read.

Everything else receives a `Study`; nothing else knows a run's name or a number of it. No module here takes long to
import, so that a file is checked in a moment.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from nnlib.core.settings import Settings
from nnlib.errors import InputError
from nnlib.records import Count, Float, NotNegative, Positive, Record, Text, Truth


class Measure(NamedTuple):
    """A number that is measured of each replica.

    Attributes
    ----------
    kind : decides its margin
    words : what it is called
    diverged : what stands for a replica that diverged; NaN where nothing can
    """

    kind: Literal["accuracy", "cost", "weights", "other"]
    words: str
    diverged: float = math.nan


# What is measured of each replica. A diverged one has no accuracy and no cost; it counts as worse than all others.
MEASURES = {
    "train_accuracy": Measure("accuracy", "training accuracy", -math.inf),
    "validation_accuracy": Measure("accuracy", "validation accuracy", -math.inf),
    "test_accuracy": Measure("accuracy", "test accuracy", -math.inf),
    "official_accuracy": Measure("accuracy", "accuracy on MNIST's official test set", -math.inf),
    "generalization_gap": Measure("accuracy", "training minus validation accuracy"),
    "train_cost": Measure("cost", "last training cost", math.inf),
    "validation_cost": Measure("cost", "last validation cost", math.inf),
    "mean_train_cost": Measure("cost", "mean training cost", math.inf),
    "mean_validation_cost": Measure("cost", "mean validation cost", math.inf),
    "early_steps_train_cost": Measure("cost", "mean training cost over the first steps", math.inf),
    "early_steps_validation_cost": Measure("cost", "mean validation cost over the first steps", math.inf),
    "early_epochs_train_cost": Measure("cost", "mean training cost over the first epochs", math.inf),
    "early_epochs_validation_cost": Measure("cost", "mean validation cost over the first epochs", math.inf),
    "roughness": Measure("cost", "mean absolute change of the training cost between evaluations", math.inf),
    "sum_squared_weights": Measure("weights", "Σ W²", math.inf),
    "log10_sum_squared_weights": Measure("weights", "log₁₀ Σ W²", math.inf),
    "steps": Measure("other", "steps"),
    "stopped_at": Measure("other", "step at which it stopped"),
    "diverged_at": Measure("other", "step at which it diverged"),
}
# Those of each layer, with its number behind: mean_W1.
LAYER_MEASURES = {
    "mean_W": Measure("weights", "mean of W"),
    "std_W": Measure("weights", "standard deviation of W"),
}
# Measures that follow from others, of our runs and of published numbers alike.
DERIVED = {"generalization_gap": ("train_accuracy", "validation_accuracy")}


def measure(name: str) -> Measure | None:
    """The measure of that name, if it is one."""
    found = MEASURES.get(name)
    if found is None and (layer := name.rpartition("W")[2]).isdecimal():
        found = LAYER_MEASURES.get(name.removesuffix(layer))
    return found


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,59}$")]
Number = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
"""run/measure"""


def _known_measure(name: str) -> str:
    if measure(name.rpartition("/")[2]) is None:
        raise ValueError(f"a measure of {', '.join([*MEASURES, *(f'{name}1' for name in LAYER_MEASURES)])}")
    return name


class Source(Record):
    """Where the study can be read.

    Attributes
    ----------
    where : repository and files, or what it is
    address : its public address, if it has one
    commit : the version that was read
    code_read : whether its code was read, or its text alone
    """

    where: Text
    address: Text | None = None
    commit: Text | None = None
    code_read: Truth = False


class RunEntry(Record):
    """A run of the study: a configuration.

    Attributes
    ----------
    label : what figures and tables call it
    colour : the name of one of the report's colours
    settings : entries of `Settings` that are its own
    added : whether it is a run for comparison that the study does not have
    """

    label: Text
    colour: Text | None = None
    settings: dict[Text, Any] = {}
    added: Truth = False


class Cells(Record):
    """Which runs are the four experiments of the assignment, and those with batch norm's true derivative, if there are.

    Attributes
    ----------
    none, bn, l2, bn_l2 : neither batch norm nor L2, one of them, both
    bn_exact, bn_l2_exact : the same with batch norm's true derivative
    label : what these four are called, where a study has several of them
    """

    none: Name | None = None
    bn: Name | None = None
    l2: Name | None = None
    bn_l2: Name | None = None
    bn_exact: Name | None = None
    bn_l2_exact: Name | None = None
    label: str = ""

    def names(self) -> dict[str, str]:
        """cell → run, of the cells that the study has."""
        return {cell: run for cell, run in self if cell != "label" and run}


class Comparison(Record):
    """A quantity, one number for each replica, and the region where the claim places it.

    Attributes
    ----------
    of : "run/measure", the number itself; a list with `sum_of_signs`
    minus, over : a second one to subtract or to divide by; at most one of them
    sum_of_signs : whether the quantity is the sum of the signs of the differences of two lists
    low, high : the region, without its ends; one of them may be left out
    """

    of: Number | list[Number]
    minus: Number | list[Number] | None = None
    over: Number | None = None
    sum_of_signs: Truth = False
    low: Float | None = None
    high: Float | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for name in self.names:
            try:
                _known_measure(name)
            except ValueError as error:
                raise InputError(f"{name}: expected {error}") from None
        if self.minus and self.over:
            raise InputError(f"comparison of {self.of}: expected minus or over, got both")
        if self.low is None and self.high is None:
            raise InputError(f"comparison of {self.of}: expected low or high, got neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise InputError(f"comparison of {self.of}: expected low below high, got {self.low} and {self.high}")
        lists = [isinstance(entry, list) for entry in (self.of, self.minus)]
        if lists != [self.sum_of_signs] * 2 or (self.sum_of_signs and len(self.of) != len(self.minus or ())):
            raise InputError(f"comparison of {self.of}: expected two lists of one length with sum_of_signs, else none")
        return self

    @property
    def names(self) -> list[str]:
        """Every "run/measure" that it speaks of."""
        parts = [self.of, self.minus, self.over]
        return [name for part in parts if part for name in ([part] if isinstance(part, str) else part)]

    @property
    def kind(self) -> str:
        """The kind of measure whose margin applies; none but to a difference that is compared with 0."""
        found = measure(self.names[0].rpartition("/")[2])
        with_0 = self.minus and not self.sum_of_signs and {self.low, self.high} == {0, None}
        return found.kind if found and with_0 else ""


class Claim(Record):
    """What is claimed.

    Attributes
    ----------
    id, says : its key, and the claim in a sentence of ours
    quote, section : the study's own words, and where they stand; none where its readers ask
    asked_by : "study", or "readers" for what its readers would ask
    every : whether the claim is of every case ("the best of all"), so that one contradicted part contradicts it
    note : how its words were read
    comparisons : its parts
    """

    id: Name
    says: Text
    quote: Text | None = None
    section: Text | None = None
    asked_by: Literal["study", "readers"] = "study"
    every: Truth = False
    note: str = ""
    comparisons: list[Comparison] = Field(min_length=1)

    @model_validator(mode="after")
    def _quoted(self) -> Self:
        if self.asked_by == "study" and not (self.quote and self.section):
            raise InputError(f"claim {self.id}: expected quote and section, the study's own words and their place")
        return self

    @property
    def names(self) -> list[str]:
        """Every "run/measure" that the claim speaks of."""
        return [name for comparison in self.comparisons for name in comparison.names]


class LeftOut(Record):
    """A sentence of the study that no claim stands for, and why."""

    quote: Text
    section: Text
    why: Text


class Explanation(Record):
    """What could explain where the published numbers do not fit our runs.

    Attributes
    ----------
    instead : which of our "run/measure" a published one is explained by
    change : the name of a change of the protocol with which the runs are trained once more
    measured : the set on which the study may have measured: test_accuracy → official_accuracy
    """

    id: Name
    says: Text
    instead: dict[Number, Number] = {}
    change: Name | None = None
    measured: dict[Text, Text] = {}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.instead, self.change, self.measured))) != 1:
            raise InputError(f"explanation {self.id}: expected one of instead, change and measured")
        return self


class Explosion(Record):
    """A run whose two costs tell Σ W²: λ, and how many examples each cost is averaged over."""

    run: Name
    L2: Positive
    m_train: Count
    m_validation: Count

    @model_validator(mode="after")
    def _two_equations(self) -> Self:
        if self.m_train == self.m_validation:
            raise InputError(f"explosion: expected m_train and m_validation to differ, got {self.m_train} for both")
        return self


Answer = Literal["better", "worse", "same", "not run", "not reported"]


class Conclusions(Record):
    """What a report says, or, without a sentence, what its numbers say; of the cells of the assignment."""

    bn_vs_none: Answer
    l2_vs_none: Answer
    bn_l2_vs_l2: Answer
    winner: Literal["none", "bn", "l2", "bn_l2", "dropout", "not reported"]
    words: list[Text] = []


class Code(Record):
    """What the code of a report really does, as far as it could be read.

    Attributes
    ----------
    batchnorm : over what it normalizes
    derivative : whether its backward pass has the derivative of batch norm
    L2_gradient : what it adds to the gradient of a weight; "none" if λ is in the cost alone
    L2, steps, learning_rate, m : from which follows how far L2 alone shrinks a weight; of the run with L2
    """

    batchnorm: Literal["per unit", "whole matrix", "per example", "no normalization", "unknown", "none"] = "unknown"
    derivative: Literal["exact", "left out", "unknown", "none"] = "unknown"
    L2_gradient: Literal["λ/m W", "λ W", "none", "unknown"] = "unknown"
    L2: NotNegative | None = None
    steps: Count | None = None
    learning_rate: Positive = 0.009
    m: Count | None = None

    @property
    def shrinkage(self) -> float | None:
        """What L2 alone leaves of a weight: exp(−α λ/m · steps); None if something of it is not known."""
        if self.L2_gradient == "none":
            return 1.0
        divided = {"λ/m W": self.m, "λ W": 1}.get(self.L2_gradient)
        if None in (divided, self.L2, self.steps):
            return None
        return math.exp(-self.learning_rate * float(self.L2 or 0) / float(divided or 1) * float(self.steps or 0))


class Mistake(Record):
    """What the code of a report does otherwise than it says: its name, from `nnlib.check` where that knows it, and what
    follows from it here."""

    name: Text
    says: Text


class Data(Record):
    """The images that the runs of a report are trained and validated on; tested on MNIST's official test set.

    Attributes
    ----------
    train, validation : how many of MNIST's 60,000 training images
    """

    train: Count
    validation: Count


class Change(Record):
    """A change of the claims after they were frozen: what was changed and why, and their digest since then."""

    what: Text
    claims: Text

    def __str__(self) -> str:
        return self.what


class Frozen(Record):
    """When claims and rules were frozen.

    Attributes
    ----------
    claims : the SHA-256 of the claims, `Study.claims_digest`
    rules : the confidence, and the margins by kind of measure
    changes : of the claims since then
    """

    date: Text
    claims: Text
    rules: dict[Text, Float]
    changes: list[Change] = []

    @property
    def latest(self) -> str:
        """The digest that the claims must have."""
        return self.changes[-1].claims if self.changes else self.claims


class Study(Record):
    """One published study.

    Attributes
    ----------
    key, title, source : what it is called here, what it is called, and where it is
    protocol : what is known of how it was done, in words; what is not is not there
    data, settings : what its runs have in common, as `Settings` has it; none where params.yaml says it
    runs : by name, those of its grid left out
    cells : which of them are the assignment's four experiments
    same : run → the one that is the same configuration under another name
    published : run → measure → the number as printed; accuracies are fractions
    seconds : run → seconds of training
    counting : how it counts epochs and iterations
    claims, left_out, explanations, explosion, frozen : see there
    chose_protocol : the published numbers that helped to recover the protocol, so that they cannot confirm it
    conclusions : of a report, what it says of the assignment's four questions
    code, mistakes : what its code really does, and what of it is not what it says
    not_reproduced : why its runs are not trained
    deviations : in what the reproduction is not as the report has it
    doubtful : why it is left out of all counts
    """

    key: Name
    title: Text
    source: Source
    protocol: dict[Text, Any] = {}
    data: Data | None = None
    settings: dict[Text, Any] = {}
    runs: dict[Name, RunEntry] = {}
    cells: list[Cells] = []
    same: dict[Name, Name] = {}
    published: dict[Name, dict[Text, Float]] = {}
    seconds: dict[Name, Positive] = {}
    counting: dict[Text, Any] = {}
    claims: list[Claim] = []
    left_out: list[LeftOut] = []
    explanations: list[Explanation] = []
    explosion: Explosion | None = None
    chose_protocol: list[Number] = []
    frozen: Frozen | None = None
    conclusions: Conclusions | None = None
    code: Code | None = None
    mistakes: list[Mistake] = []
    not_reproduced: Text | None = None
    deviations: list[Text] = []
    doubtful: Text | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for kind, ids in (
            ("claims", [claim.id for claim in self.claims]),
            ("explanations", [explanation.id for explanation in self.explanations]),
        ):
            for name, count in Counter(ids).items():
                if count > 1:
                    raise InputError(f"{kind}: expected an id for each, got {name} {count} times")
        for run, numbers in self.published.items():
            for name, value in numbers.items():
                found = measure(name)
                if found is None:
                    raise InputError(f"published.{run}: expected measures, got {name!r}")
                if found.kind == "accuracy" and name not in DERIVED and not 0 <= value <= 1:
                    raise InputError(f"published.{run}.{name}: expected a fraction from 0 to 1, got {value}")
        for cells in self.cells:
            self._known("cells", cells.names().values())
        self._known("seconds", self.seconds)
        self._known("same", [*self.same, *self.same.values()])
        self._published("chose_protocol", self.chose_protocol)
        for explanation in self.explanations:
            where = f"explanation {explanation.id}"
            self._published(where, [*explanation.instead, *explanation.instead.values()])
            for name in [*explanation.measured, *explanation.measured.values()]:
                if measure(name) is None:
                    raise InputError(f"{where}: expected measures, got {name!r}")
        if self.explosion:
            self._known("explosion", [self.explosion.run])
            for cost in ("train_cost", "validation_cost"):
                if cost not in self.published.get(self.explosion.run, {}):
                    raise InputError(f"explosion: expected {cost} among the published numbers of {self.explosion.run}")
        return self

    def _known(self, where: str, runs: Iterable[str]) -> None:
        known = {*self.runs, *self.published}
        for run in runs:
            if run not in known:
                raise InputError(f"{where}: expected a run of {', '.join(sorted(known))}, got {run!r}")

    def _published(self, where: str, numbers: Iterable[str]) -> None:
        for number in numbers:
            run, _, name = number.partition("/")
            if name not in self.published.get(run, {}):
                raise InputError(f"{where}: expected a published number, got {number!r}")

    @property
    def four(self) -> Cells:
        """The four experiments; the first, where there are several."""
        return self.cells[0] if self.cells else Cells()

    @property
    def experiments(self) -> list[str]:
        """The runs of the four experiments in the order of the file, added ones left out."""
        return [run for run in self.runs if run in self.four.names().values() and not self.runs[run].added]

    def configurations(
        self, common: Mapping[str, Any] | None = None, runs: Iterable[str] | None = None
    ) -> dict[str, Settings]:
        """The settings of these runs, or of all: what is common, the file's own, the run's own.

        Raises
        ------
        InputError
            If they are no settings, with the run.
        """
        found = {}
        for name in self.runs if runs is None else runs:
            try:
                found[name] = Settings(**merged(common or {}, self.settings, self.runs[name].settings))
            except InputError as error:
                raise InputError(f"{self.key}: runs.{name}: {error}") from None
        return found

    def check_claims(self, runs: Iterable[str]) -> None:
        """That claims speak of these runs, or of published ones.

        Raises
        ------
        InputError
            With the claim and what it speaks of.
        """
        known = {*runs, *self.runs, *self.published}
        for claim in self.claims:
            for name in claim.names:
                if (run := name.partition("/")[0]) not in known:
                    raise InputError(
                        f"{self.key}: claim {claim.id}: expected a run of {', '.join(sorted(known))}, got {run!r}"
                    )

    def claims_digest(self) -> str:
        """SHA-256 of the claims; an entry that is as it would be without being given counts as not given."""
        claims = [claim.model_dump(mode="json", exclude_defaults=True) for claim in self.claims]
        return hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).hexdigest()


def fewest_replicas(claims: int, level: float) -> int:
    """The fewest replicas that can decide one of so many claims, where all of them agree: 2 · 2⁻ⁿ ≤ level / claims."""
    return math.ceil(math.log2(2 * max(1, claims) / level))


def merged(*records: Mapping[str, Any]) -> dict[str, Any]:
    """The records as one, the entries of later ones in place of earlier ones'; sections entry by entry."""
    result: dict[str, Any] = {}
    for record in records:
        for name, value in record.items():
            both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
            result[name] = merged(result[name], value) if both else value
    return result
