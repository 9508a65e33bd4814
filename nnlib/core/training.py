"""How the study trains: mini-batches in a new order each epoch, a cost every 100 steps, a stopping rule.

`l_layer_model` is the readable loop for one network, the study's own function. `nnlib.engine` trains many at once and
follows it step for step; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnlib.arguments import (
    Check,
    function,
    naming,
    not_negative,
    one_of,
    optional,
    pair,
    positive,
    takes,
    truth,
    units,
    what,
    whole,
)
from nnlib.core.layers import BATCHNORM_BACKWARD
from nnlib.core.model import (
    INITIALIZATIONS,
    Parameters,
    compute_cost_from_logits,
    initialize_parameters,
    l_model_backward,
    l_model_forward,
    sum_squared_weights,
    update_parameters,
)
from nnlib.core.seeds import epoch_order
from nnlib.errors import InputError
from nnlib.shapes import floats, tensor

LOOK_EVERY = 100
PATIENCE = 100
THRESHOLD = 1e-5

Record = dict[str, Any]


# What counts as progress of the validation cost, from the cost, the one it is held against, and the threshold.
STOPPING_RULES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "change": lambda cost, last, threshold: (cost - last).abs() > threshold,
    "improvement": lambda cost, best, threshold: cost < best - threshold,
}


@dataclass
class StoppingRule:
    """Stop when the validation cost has made no progress beyond `threshold` for `patience` looks in a row.

    It looks when the cost is logged, every 100 steps: with looks at single steps, or a patience of one look, none of
    the study's runs could have reached its 120,000 steps. For "change", the default, progress is any change since the
    last look; for "improvement", the usual rule, only a cost below the best so far. The study's must have been the
    first: in its experiment 2 the validation cost rose to 879, and still it ran to the end; the usual rule ends that
    experiment after some 20,000 steps.

    Works on one cost or on one for each network.

    Raises
    ------
    ValueError
        If patience is not a whole number from 1, the threshold is negative or not finite, or the rule is unknown.
    """

    patience: int = PATIENCE
    threshold: float = THRESHOLD
    rule: str = "change"
    reference: Tensor = field(default_factory=lambda: torch.tensor(torch.inf))
    looks_since: Tensor = field(default_factory=lambda: torch.tensor(0))

    def __post_init__(self) -> None:
        self.patience = whole(1)("patience", self.patience)
        self.threshold = not_negative("threshold", self.threshold)
        self.rule = one_of(STOPPING_RULES)("rule", self.rule)

    def look(self, cost: Tensor) -> Tensor:
        """Take in the latest cost, shape (...); True where it is time to stop."""
        cost = tensor("cost", cost).detach()
        progress = STOPPING_RULES[self.rule](cost, self.reference, self.threshold)
        self.reference = cost if self.rule == "change" else cost.where(progress, self.reference)
        self.looks_since = torch.where(progress, 0, self.looks_since + 1)
        return self.looks_since >= self.patience


@takes(examples=whole(1), batch_size=whole(1), seed=whole(), epoch=whole(1), reshuffle=truth)
def mini_batches(examples: int, batch_size: int, seed: int, epoch: int, reshuffle: bool = True) -> tuple[Tensor, ...]:
    """The indices of one epoch's mini-batches; the last may be smaller. Epochs count from 1.

    Each epoch has an order of its own; not reshuffled, all have the first epoch's.
    """
    return torch.from_numpy(epoch_order(seed, epoch, examples, reshuffle)).split(batch_size)


def check_training_set(X: Tensor, Y: Tensor, layers_dims: Sequence[int], batch_size: int) -> tuple[Tensor, Tensor]:
    """X and Y as `check_set` gives them, if a mini-batch is no larger than the set."""
    X, Y = check_set(X, Y, layers_dims)
    whole(1, X.shape[1])("batch_size", batch_size)
    return X, Y


def check_set(X: Tensor, Y: Tensor, layers_dims: Sequence[int]) -> tuple[Tensor, Tensor]:
    """X and Y as tensors of X's precision, cut off from any graph, if they are a set for a network of those layers.

    Raises
    ------
    ValueError
        If X is not (features, m), finite, float32 or float64, or Y is not (classes, m), a single 1 in each column.
    """
    features, *_, classes = units("layers_dims", layers_dims)
    (X,) = floats([("X", X)])
    Y = tensor("Y", Y).to(X)
    if X.ndim != 2 or X.shape[0] != features or not X.shape[1]:
        raise InputError(f"X: expected ({features}, m), features × examples, got {tuple(X.shape)}")
    if Y.shape != (classes, X.shape[1]):
        raise InputError(f"Y: expected ({classes}, {X.shape[1]}), classes × examples, got {tuple(Y.shape)}")
    extremes = torch.stack(X.aminmax())
    if not extremes.isfinite().all():
        raise InputError(f"X: expected finite numbers, got {extremes[~extremes.isfinite()][0]}")
    wrong = ((Y != 0) & (Y != 1)).any(0) | (Y.sum(0) != 1)
    if wrong.any():
        column = int(wrong.nonzero()[0])
        raise InputError(f"Y: expected a single 1 in each column, the rest 0, got {what(Y[:, column].tolist())}")
    return X.detach(), Y.detach()


# What the arguments that decide a run must be.
SETTINGS: dict[str, Check] = {
    "layers_dims": units,
    "learning_rate": positive,
    "batch_size": whole(1),
    "use_batchnorm": truth,
    "batchnorm_rule": one_of(BATCHNORM_BACKWARD),
    "rule": one_of(INITIALIZATIONS),
    "patience": whole(1),
    "threshold": not_negative,
    "stopping_rule": one_of(STOPPING_RULES),
    "look_every": whole(1),
    "reshuffle": truth,
}


@takes(
    **SETTINGS,
    num_iterations=whole(),
    L2=not_negative,
    validation=optional(pair),
    seed=whole(),
    record=optional(function),
)
def l_layer_model(
    X: Tensor,
    Y: Tensor,
    layers_dims: Sequence[int],
    learning_rate: float = 0.009,
    num_iterations: int = 100,
    batch_size: int = 32,
    use_batchnorm: bool = False,
    L2: float = 0.0,
    *,
    validation: tuple[Tensor, Tensor] | None = None,
    batchnorm_rule: str = "straight_through",
    rule: str = "he_fan_out",
    seed: int = 0,
    patience: int = PATIENCE,
    threshold: float = THRESHOLD,
    stopping_rule: str = "change",
    look_every: int = LOOK_EVERY,
    reshuffle: bool = True,
    record: Callable[[Record], object] | None = None,
) -> tuple[Parameters, list[float]]:
    """Train one network by mini-batch gradient descent.

    Parameters
    ----------
    X, Y : (features, m) inputs and (classes, m) one-hot labels. All is computed in X's precision, float32 or float64.
        X of whole numbers is refused: grey levels first go through `nnlib.data.dataset.normalize`.
    layers_dims : units of every layer, for example [784, 20, 7, 5, 10]
    learning_rate : α of the update θ − α dθ
    num_iterations : epochs, passes over X, not gradient steps: the study's default of 100 with its table's last epoch
        of 99. After 0 the parameters are the first ones.
    batch_size : examples a step; the last step of an epoch takes what is left
    use_batchnorm, batchnorm_rule : as in `l_model_forward` and `l_model_backward`
    L2 : λ; divided by the batch size in the gradient, by the size of the set in each cost
    validation : (X, Y) whose cost is looked at for the stopping rule; without it all epochs are run
    rule, seed : of the first weights; the seed also decides the order of the examples
    patience, threshold, stopping_rule : of the `StoppingRule`
    look_every : steps from one look at the costs to the next
    reshuffle : a new order of the examples in each epoch; without, all have the first epoch's
    record : called with a plain record at every look: step, epoch, train_cost (of the step's mini-batch, before its
        update), validation_cost (after it; None without a validation set), sum_squared_weights, status
        ("running", "finished", "stopped" or "diverged")

    Returns
    -------
    parameters : the last ones
    costs : the training cost at every look, one per 100 steps; a cost that is not finite ends the run

    Raises
    ------
    ValueError
        If an argument does not fit, with its name.
    """
    X, Y = check_training_set(X, Y, layers_dims, batch_size)
    if validation is not None:
        with naming("validation"):
            validation = check_set(*validation, layers_dims)
        validation = validation[0].to(X), validation[1].to(X)
    # An example's numbers side by side in memory: gathering a mini-batch of columns is ten times slower.
    rows, labels = X.T.contiguous(), Y.T.contiguous()
    parameters = initialize_parameters(layers_dims, rule=rule, seed=seed, dtype=X.dtype)
    stopping = StoppingRule(patience, threshold, stopping_rule)
    last_step = num_iterations * -(-X.shape[1] // batch_size)
    costs: list[float] = []
    step = 0
    for epoch in range(1, num_iterations + 1):
        for batch in mini_batches(X.shape[1], batch_size, seed, epoch, reshuffle):
            step += 1
            before = parameters
            X_batch, Y_batch = rows[batch].T, labels[batch].T
            parameters, ZL = gradient_step(
                X_batch, Y_batch, before, learning_rate, use_batchnorm, L2, batchnorm_rule=batchnorm_rule
            )
            regular = step % look_every == 0
            if not regular and step != last_step:
                continue
            cost = compute_cost_from_logits(ZL, Y_batch, before, L2)
            validation_cost = None if validation is None else evaluate_cost(*validation, parameters, use_batchnorm, L2)
            # A last look between two regular ones does not count: a longer run would not have it.
            status = look(cost, validation_cost, stopping if regular else None, finished=step == last_step)
            if regular:
                costs.append(cost.item())
            if record:
                record(
                    {
                        "step": step,
                        "epoch": epoch,
                        "train_cost": cost.item(),
                        "validation_cost": None if validation_cost is None else validation_cost.item(),
                        "sum_squared_weights": sum_squared_weights(before).item(),
                        "status": status,
                    }
                )
            if status in ("stopped", "diverged"):
                return parameters, costs
    return parameters, costs


def gradient_step(
    X: Tensor,
    Y: Tensor,
    parameters: Parameters,
    learning_rate: float,
    use_batchnorm: bool = False,
    L2: float = 0.0,
    *,
    batchnorm_rule: str = "straight_through",
) -> tuple[Parameters, Tensor]:
    """Forward, backward and update on one mini-batch: the new parameters, and the output layer's Z of the old ones."""
    AL, caches = l_model_forward(X, parameters, use_batchnorm)
    grads = l_model_backward(AL, Y, caches, L2, batchnorm_rule=batchnorm_rule)
    _, ZL = caches[-1]
    return update_parameters(parameters, grads, learning_rate), ZL


def look(cost: Tensor, validation_cost: Tensor | None, stopping: StoppingRule | None, *, finished: bool) -> str:
    """What has become of the run: "diverged", "stopped", "finished", or it is "running"."""
    seen = [cost] if validation_cost is None else [cost, validation_cost]
    stop = stopping is not None and validation_cost is not None and bool(stopping.look(validation_cost))
    if not all(one.isfinite() for one in seen):
        return "diverged"
    if stop:
        return "stopped"
    return "finished" if finished else "running"


def evaluate_cost(
    X: Tensor, Y: Tensor, parameters: Parameters, use_batchnorm: bool = False, L2: float | Tensor = 0.0
) -> Tensor:
    """The cost over a whole set, its L2 term divided by the size of that set; shape (...)."""
    _, caches = l_model_forward(X, parameters, use_batchnorm)
    return compute_cost_from_logits(caches[-1][1], Y, parameters, L2)
