"""Every hyperparameter of a configuration, once: its type, bounds, default and meaning.

The defaults are what a textbook would take. Where a study chose otherwise, its choices are data, not defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nnlib.core.optimizers import OPTIMIZERS, Rates
from nnlib.errors import InputError
from nnlib.records import Count, CountList, Float, NotNegativeInt, Record

# The standard deviation of a layer's initial weights, from its fan-in and fan-out: K. He et al. (2015) for ReLU, by
# fan-in or fan-out; X. Glorot and Y. Bengio (2010); Y. LeCun et al. (1998); three that the assignment's solutions use.
INITIALIZATIONS: Mapping[str, Callable[[int, int], float]] = MappingProxyType(
    {
        "he_fan_in": lambda fan_in, fan_out: sqrt(2 / fan_in),
        "he_fan_out": lambda fan_in, fan_out: sqrt(2 / fan_out),
        "xavier": lambda fan_in, fan_out: sqrt(2 / (fan_in + fan_out)),
        "lecun": lambda fan_in, fan_out: sqrt(1 / fan_in),
        "inverse_fan_in": lambda fan_in, fan_out: 1 / fan_in,
        "inverse_fan_out": lambda fan_in, fan_out: 1 / fan_out,
        "standard_normal": lambda fan_in, fan_out: 1.0,
    }
)

# What counts as progress of the quantity that is watched, from its value (a cost; of an accuracy its negative), the one
# that it is held against, and the threshold.
STOPPING_RULES: Mapping[str, Callable[[Any, Any, float], Any]] = MappingProxyType(
    {
        "improvement": lambda value, best, threshold: value < best - threshold,
        "change": lambda value, last, threshold: abs(value - last) > threshold,
        "no_decline": lambda value, best, threshold: value <= best + threshold,
    }
)

# Networks may compute in float32, which ends at 3.4e38 and below 1e-38 is less exact, or 0.
Positive = Annotated[Float, Field(ge=1e-37, le=1e38)]


def _not_too_small(value: float) -> float:
    if 0 < value < 1e-37:
        raise ValueError("0, or a number of at least 1e-37")
    return abs(value)  # −0 is 0


NotNegative = Annotated[Float, Field(ge=0, le=1e38), AfterValidator(_not_too_small)]

Initialization = Annotated[  # type: ignore[valid-type]
    Literal[tuple(INITIALIZATIONS)],
    Field(description="the rule for the standard deviation of the initial weights; biases start at 0"),
]
LayersDims = Annotated[CountList, Field(min_length=2, description="units of each layer, input to output")]
Activation = Annotated[
    Literal["relu", "sigmoid"],
    Field(description="of the hidden layers, a row of `nnlib.core.layers.ACTIVATIONS`; the output layer has softmax"),
]
LearningRate = Annotated[Positive, Field(description="α, the size of a step: θ − α dθ in plain gradient descent")]
OptimizerName = Annotated[  # type: ignore[valid-type]
    Literal[tuple(OPTIMIZERS)], Field(description="what a step makes of the parameters, given their gradient")
]
Momentum = Annotated[
    NotNegative,
    Field(lt=1, description="μ, how much of a step the next one keeps, if the optimizer is momentum"),
]
BatchSize = Annotated[Count, Field(description="examples in a mini-batch; the last of an epoch may be smaller")]
Epochs = Annotated[NotNegativeInt, Field(description="passes over the training set")]
Batchnorm = Annotated[
    Literal["none", "straight_through", "exact"],
    Field(
        description="batch norm after the activation of each hidden layer: none, or with which derivative; exact is "
        "the true one, straight_through passes the gradient on as if nothing had been normalized"
    ),
]
L2Strength = Annotated[NotNegative, Field(description="λ; the cost has λ/(2m) Σ W², the gradient λ/m W")]
Shuffle = Annotated[
    Literal["every_epoch", "once", "never"],
    Field(description="when the training examples are shuffled; never: as they come"),
]


class Normalization(Record):
    """How batch norm normalizes: Â = (A − μ) / √(σ² + ε)."""

    epsilon: Positive = Field(1e-8, description="ε, so that a constant unit does not divide by 0")
    epsilon_added_to: Literal["variance", "deviation"] = Field(
        "variance", description="√(σ² + ε), or √σ² + ε for the standard deviation"
    )
    variance: Literal["biased", "unbiased"] = Field("biased", description="divided by m, or by m − 1")
    over: Literal["examples", "matrix"] = Field(
        "examples", description="μ and σ² of each unit over the examples, or of all units and examples of a layer"
    )


def check_derivative(batchnorm: str, normalization: Normalization) -> None:
    """Refuse the exact derivative of a form that it is not written for."""
    if batchnorm == "exact" and normalization != Normalization(epsilon=normalization.epsilon):
        raise InputError(
            "batchnorm: expected none or straight_through, since the exact derivative is that of the usual form"
            f" alone, got exact with {normalization}"
        )


class Stopping(Record):
    """Early stopping: how often the validation set is evaluated, and after how many evaluations without progress a run
    ends."""

    quantity: Literal["validation_cost", "validation_accuracy"] = Field(
        "validation_cost", description="what is watched"
    )
    rule: Literal["improvement", "change", "no_decline"] = Field(
        "improvement",
        description="what counts as progress: improvement, a new best value; change, any change since the last "
        "evaluation; no_decline, a value that is not worse than the best",
    )
    eval_every: Count = Field(100, description="gradient steps from one evaluation to the next")
    patience: Count = Field(100, description="evaluations in a row without progress that end a run")
    threshold: NotNegative = Field(
        0.0,
        description="a change or an improvement must be larger than this to count as progress; a decline from the "
        "best, too, to count as one",
    )
    returns: Literal["best", "last"] = Field(
        "best", description="the parameters of the best evaluation, or of the last step"
    )


class Settings(Record):
    """What one configuration is trained with.

    Raises
    ------
    InputError
        If a value does not fit; the message names it.
    """

    layers_dims: LayersDims
    initialization: Initialization = "he_fan_in"  # type: ignore[valid-type]
    activation: Activation = "relu"
    learning_rate: LearningRate = 0.009
    optimizer: OptimizerName = "gradient_descent"  # type: ignore[valid-type]
    momentum: Momentum = 0.9
    epochs: Epochs = 100
    batch_size: BatchSize = 32
    batchnorm: Batchnorm = "none"
    normalization: Normalization = Normalization()
    L2: L2Strength = 0.0
    shuffle: Shuffle = "every_epoch"
    stopping: Stopping = Stopping()

    @model_validator(mode="after")
    def _known_derivative(self) -> Self:
        check_derivative(self.batchnorm, self.normalization)
        return self

    def operations(self) -> dict[str, Any]:
        """What a hidden layer computes after its linear part, as arguments of `l_model_forward`, `l_model_backward` and
        `predict`."""
        return {name: getattr(self, name) for name in ("activation", "batchnorm", "normalization")}

    def rates(self) -> Rates:
        """What the optimizer's update is given."""
        return Rates(self.learning_rate, self.momentum)

    def identity(self) -> Settings:
        """The settings that replicas of the same bits share: 0 epochs, and defaults for what plays no part,
        normalization without batch norm and the hyperparameters of other optimizers."""
        unused: dict[str, Any] = {"epochs": 0}
        if self.batchnorm == "none":
            unused["normalization"] = Normalization()
        for row in OPTIMIZERS.values():
            others = {*row.needs} - {*OPTIMIZERS[self.optimizer].needs}
            unused |= {name: Settings.model_fields[name].default for name in others}
        return self.replace(**unused)

    def last_step(self, examples: int) -> int:
        """Gradient steps in all epochs."""
        return self.epochs * -(-examples // self.batch_size)

    def record(self) -> dict[str, Any]:
        """As plain values, for a file; `Settings(**record)` is the inverse."""
        return self.model_dump(mode="json")
