"""A study as data: its protocol, its runs, the numbers that it printed, what it claims, and how it was read.

nnlib and stages receive a `Study`; they know no run's name and no number of it. This module imports nothing slow, so
that a file is checked in a moment.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from nnlib.core.settings import Settings
from nnlib.data.catalogue import DataSet
from nnlib.errors import InputError
from nnlib.evidence.mistakes import AXIS, BRACKETS, COST_ONLY, DERIVATIVE, MATRIX, MISTAKES, OFF, TOO_SMALL
from nnlib.records import Count, Float, NotNegative, Positive, Record, Text, Truth

# The share of the level for the first, two-sided test; `nnlib.evidence.claims` says why.
FIRST_TEST_SHARE = 2 / 3


class Measure(NamedTuple):
    """A number that is measured of each replica.

    Attributes
    ----------
    kind : decides its margin
    words : what it is called; `{steps}` and `{epochs}` stand for those of `measures.Early`
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
    "official_accuracy": Measure("accuracy", "accuracy on the official test set", -math.inf),
    "generalization_gap": Measure("accuracy", "training minus validation accuracy"),
    "train_cost": Measure("cost", "last training cost", math.inf),
    "validation_cost": Measure("cost", "last validation cost", math.inf),
    "mean_train_cost": Measure("cost", "mean training cost", math.inf),
    "mean_validation_cost": Measure("cost", "mean validation cost", math.inf),
    "early_steps_train_cost": Measure("cost", "mean training cost of the first {steps:,} steps", math.inf),
    "early_steps_validation_cost": Measure("cost", "mean validation cost of the first {steps:,} steps", math.inf),
    "early_epochs_train_cost": Measure("cost", "mean training cost of the first {epochs} epochs", math.inf),
    "early_epochs_validation_cost": Measure("cost", "mean validation cost of the first {epochs} epochs", math.inf),
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
    "mean_abs_W": Measure("weights", "mean of |W|"),
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
Address = Annotated[str, Field(pattern=r"^https://\S+$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Number = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
"""run/measure"""


def _known_measure(name: str) -> str:
    if measure(name.rpartition("/")[2]) is None:
        raise ValueError(f"a measure of {', '.join([*MEASURES, *(f'{name}1' for name in LAYER_MEASURES)])}")
    return name


MeasureName = Annotated[str, AfterValidator(_known_measure)]


class Source(Record):
    """Where the study can be read.

    Attributes
    ----------
    where : the files in it, or what it is
    address : its public address, if it has one
    commit : the version that was read
    code_read : whether its code was read, or its text alone
    """

    where: Text
    address: Address | None = None
    commit: Commit | None = None
    code_read: Truth = False

    @model_validator(mode="after")
    def _can_be_opened(self) -> Self:
        if self.code_read and not (self.address and self.commit):
            raise InputError("expected address and commit, since its code was read")
        return self


class RunEntry(Record):
    """An entry of the study's `runs`: a configuration under a name.

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
        """The kind of measure whose margin applies; empty unless a difference is compared with 0."""
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


# The questions of the assignment: each compares two of its four experiments.
QUESTIONS = {"bn_vs_none": ("bn", "none"), "l2_vs_none": ("l2", "none"), "bn_l2_vs_l2": ("bn_l2", "l2")}
FOUR = ("none", "bn", "l2", "bn_l2")

Answer = Literal["better", "worse", "same"]


class Conclusions(Record):
    """What a report says of the assignment's questions in words, by test accuracy; none where it says nothing.

    Attributes
    ----------
    bn_vs_none, l2_vs_none, bn_l2_vs_l2 : what the first is, compared with the second
    winner : the best of all
    words : what else it says, in words of ours
    """

    bn_vs_none: Answer | None = None
    l2_vs_none: Answer | None = None
    bn_l2_vs_l2: Answer | None = None
    winner: Literal["none", "bn", "l2", "bn_l2", "dropout"] | None = None
    words: list[Text] = []


# exp(−α λ/m · steps) above this: L2 shrinks the weights by less than one percent, too little to matter.
NO_SHRINKAGE = 0.99


class Code(Record):
    """What the code of a report really does, as far as it could be read.

    Attributes
    ----------
    batchnorm : over what it normalizes; "none" if it has no batch norm
    derivative : whether its backward pass has the derivative of batch norm
    off_in_prediction : its networks with batch norm are evaluated without
    L2_gradient : what it adds to the gradient of a weight; "none" if λ is in the cost alone
    L2, m, learning_rate, steps : of the run with L2, from which follows how far L2 alone shrinks a weight
    """

    batchnorm: Literal["per unit", "whole matrix", "per example", "no normalization", "unknown", "none"] = "unknown"
    derivative: Literal["exact", "left out", "unknown"] = "unknown"
    off_in_prediction: Truth = False
    L2_gradient: Literal["λ/m W", "λ W", "none", "unknown"] = "unknown"
    L2: NotNegative | None = None
    m: Count | None = None
    learning_rate: Positive = 0.009
    steps: Count | None = None

    @property
    def kind(self) -> str:
        """What its batch norm really is, in a few words: batch norm, or the gravest way in which it is not."""
        if self.batchnorm in ("unknown", "none"):
            return "unknown"
        if self.batchnorm != "per unit":
            return self.batchnorm
        if self.off_in_prediction:
            return "off in prediction"
        return {"exact": "batch norm", "left out": "derivative left out"}.get(self.derivative, "unknown")

    @property
    def shrinkage(self) -> float | None:
        """What L2 alone leaves of a weight: exp(−α λ/m · steps); None if something of it is not known."""
        if self.L2_gradient == "none":
            return 1.0
        divided = {"λ/m W": self.m, "λ W": 1}.get(self.L2_gradient)
        if divided is None or self.L2 is None or self.steps is None:
            return None
        return math.exp(-self.learning_rate * self.L2 / divided * self.steps)

    @property
    def L2_acts(self) -> bool | None:
        """Whether L2 can make a difference; None if it is not known."""
        return None if self.shrinkage is None else self.shrinkage <= NO_SHRINKAGE

    @property
    def mistakes(self) -> list[str]:
        """Those of nnlib/evidence/mistakes.py that follow from it."""
        found = {
            DERIVATIVE: self.derivative == "left out",
            MATRIX: self.batchnorm == "whole matrix",
            AXIS: self.batchnorm == "per example",
            BRACKETS: self.batchnorm == "no normalization",
            OFF: self.off_in_prediction,
            COST_ONLY: self.L2_gradient == "none",
            TOO_SMALL: self.L2_gradient != "none" and self.L2_acts is False,
        }
        return [name for name, made in found.items() if made]


def _known_mistake(name: str) -> str:
    if name not in MISTAKES:
        raise ValueError(f"one of {', '.join(MISTAKES)}")
    return name


MistakeName = Annotated[str, AfterValidator(_known_mistake)]


class Data(Record):
    """The images that the runs of a report are trained and validated on; tested on the official test set.

    Attributes
    ----------
    train, validation : how many of the training images
    """

    train: Count
    validation: Count

    def share(self, examples: int, images: int) -> Data:
        """The same, scaled down to so many examples of all images; 0 takes all."""
        part = min(1.0, examples / images) if examples else 1.0
        return Data(train=max(1, int(self.train * part)), validation=max(1, int(self.validation * part)))


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
    protocol : what is known of how it was done, in words; what is not known is left out
    data : the images of its runs; without it, the caller's
    settings : what its runs have in common, as `Settings` has it, beyond what the caller gives `configurations`
    runs : by name, those of its grid left out
    cells : which of its runs are the assignment's four experiments; several, where it has them several times
    vote : which of several cells count where each report has one vote: the first, or of each the best run, if that is
        what the report compares
    one_seed : all its runs start from the same seed; if not, each from its own
    same : run → the one that is the same configuration under another name, or once more
    published : run → measure → the number as printed; accuracies are fractions
    seconds : run → seconds of training
    counting : how it counts epochs and iterations
    claims, left_out, explanations, explosion, frozen : see there
    chose_protocol : the published numbers that helped to recover the protocol, so that they cannot confirm it
    measured_otherwise : measures of which its numbers cannot be compared with ours, and why
    conclusions : of a report, what it says of the assignment's four questions
    code : what its code really does
    mistakes : a kind of `nnlib.evidence.mistakes` → how it shows here; those that `code` tells are not repeated
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
    vote: Literal["first", "best"] = "first"
    one_seed: Truth = False
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
    measured_otherwise: dict[MeasureName, Text] = {}
    conclusions: Conclusions = Conclusions()
    code: Code = Code()
    mistakes: dict[MistakeName, Text] = {}
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
        for name, (one, other) in QUESTIONS.items():
            answer = getattr(self.conclusions, name)
            if answer and not all(self.four.names().get(cell) in self.published for cell in (one, other)):
                raise InputError(f"conclusions.{name}: expected published numbers of {one} and {other}, got {answer!r}")
        for name in self.mistakes:
            if name in self.code.mistakes:
                raise InputError(f"mistakes: {name}: expected only what code does not tell already")
        if self.runs and self.not_reproduced:
            raise InputError(
                "not_reproduced: expected none, since the study has runs; say under deviations what differs"
            )
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
        self._published("chose_protocol", self.chose_protocol)
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
            If they are no settings; the message names the run.
        """
        found = {}
        for name in self.runs if runs is None else runs:
            try:
                found[name] = Settings(**merged(common or {}, self.settings, self.runs[name].settings))
            except InputError as error:
                raise InputError(f"{self.key}: runs.{name}: {error}") from None
        return found

    def check_data(self, dataset: DataSet, configurations: Mapping[str, Settings]) -> None:
        """That the data set has the images of `data`, and that networks of these settings can be trained on them.

        Raises
        ------
        InputError
            If not; the message names the run, or says how many images were asked for.
        """
        if self.data and (asked := self.data.train + self.data.validation) > dataset.train:
            raise InputError(f"{self.key}: data: expected at most {dataset.train} images together, got {asked}")
        for run, settings in configurations.items():
            where = f"{self.key}: runs.{run}"
            dataset.check_layers(f"{where}: layers_dims", settings.layers_dims)
            if self.data and settings.batch_size > (most := self.data.train):
                raise InputError(
                    f"{where}: batch_size: expected at most the {most} training images, got {settings.batch_size}"
                )

    def check_claims(self, runs: Iterable[str]) -> None:
        """That claims speak of these runs, or of published ones.

        Raises
        ------
        InputError
            If not; the message names the claim and the run.
        """
        known = {*runs, *self.runs, *self.published}
        for claim in self.claims:
            for name in claim.names:
                if (run := name.partition("/")[0]) not in known:
                    raise InputError(
                        f"{self.key}: claim {claim.id}: expected a run of {', '.join(sorted(known))}, got {run!r}"
                    )

    def claims_digest(self) -> str:
        """SHA-256 of the claims; an entry that equals its default counts as not given."""
        claims = [claim.model_dump(mode="json", exclude_defaults=True) for claim in self.claims]
        return hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).hexdigest()


def fewest_replicas(claims: int, level: float) -> int:
    """The fewest replicas that can decide one of so many claims, where all of them agree."""
    return math.ceil(math.log2(2 * max(1, claims) / (FIRST_TEST_SHARE * level)))


def merged(*records: Mapping[str, Any]) -> dict[str, Any]:
    """The records as one, the entries of later ones in place of earlier ones'; sections entry by entry."""
    result: dict[str, Any] = {}
    for record in records:
        for name, value in record.items():
            both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
            result[name] = merged(result[name], value) if both else value
    return result
