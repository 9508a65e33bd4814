"""Training: mini-batches in a new order each epoch, an evaluation every so many steps, early stopping.

`l_layer_model` is the readable loop for one network, the assignment's own function. `nnlib.engine` trains many at once
and follows it step for step; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import InstanceOf
from torch import Tensor

from nnlib.arrays import ArrayLike, floats, tensor
from nnlib.core.model import (
    OptimizerState,
    Parameters,
    compute_cost_from_logits,
    initialize_parameters,
    l_model_backward,
    l_model_forward,
    predict,
    sum_squared_weights,
    update_parameters,
)
from nnlib.core.seeds import Seeds, epoch_order
from nnlib.core.settings import STOPPING_RULES, Settings, Shuffle, Stopping
from nnlib.errors import InputError
from nnlib.records import Count, NotNegativeInt, Seed, checked
from nnlib.validation import check_one_hot, naming, pair, remedy

Record = dict[str, Any]
Examples = tuple[Tensor, Tensor]


class StoppingRule:
    """The memory of early stopping: the value that progress is measured against, and how long there was none.

    Works on one network or on many: values have the shape (...) of the networks.

    Attributes
    ----------
    reference : (...) the last value that counted as progress, or by the rule "change" the last one
        (accuracies negative)
    best : (...) the lowest value so far
    evals_without_progress : (...)
    """

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.reference = torch.full((), torch.inf, device="cpu")
        self.best = self.reference
        self.evals_without_progress = torch.zeros((), dtype=torch.int64, device="cpu")

    def evaluate(self, cost: Tensor, accuracy: Tensor) -> tuple[Tensor, Tensor]:
        """Take in an evaluation of the validation set, (...) each.

        Returns
        -------
        stop : where it is time to stop
        best : where this is the best evaluation so far
        """
        value = cost if self.stopping.quantity == "validation_cost" else -accuracy
        progress = STOPPING_RULES[self.stopping.rule](value, self.reference, self.stopping.threshold)
        best = value < self.best
        self.best = value.where(best, self.best)
        self.reference = value if self.stopping.rule == "change" else value.where(progress, self.reference)
        self.evals_without_progress = torch.where(progress, 0, self.evals_without_progress + 1)
        return self.evals_without_progress >= self.stopping.patience, best


def mini_batches(
    examples: int, batch_size: int, seed: int, epoch: int, shuffle: str = "every_epoch"
) -> tuple[Tensor, ...]:
    """The indices of one epoch's mini-batches; the last may be smaller. Epochs count from 1.

    Raises
    ------
    InputError
        If an argument does not fit; the message names it.
    """
    examples, batch_size = checked("examples", examples, Count), checked("batch_size", batch_size, Count)
    seed, epoch = checked("seed", seed, Seed), checked("epoch", epoch, Count)
    order = epoch_order(seed, epoch, examples, checked("shuffle", shuffle, Shuffle))
    return torch.from_numpy(order).split(batch_size)


def check_set(X: Any, Y: Any, layers_dims: Sequence[int]) -> Examples:
    """X and Y as tensors of X's precision, cut off from any graph, if they are a set for a network of those layers.

    Raises
    ------
    InputError
        If X is not (features, m), finite, float32 or float64, or Y is not (classes, m), a single 1 in each column.
    """
    features, classes = layers_dims[0], layers_dims[-1]
    (X,) = floats({"X": X})
    Y = tensor("Y", Y).to(X)
    if X.ndim != 2 or X.shape[0] != features or not X.shape[1]:
        end = f"got {tuple(X.shape)}{remedy('X', (features, 'm'), X.shape)}"
        raise InputError(f"X: expected ({features}, m), features × examples, {end}")
    if Y.shape != (classes, X.shape[1]):
        end = f"got {tuple(Y.shape)}{remedy('Y', (classes, X.shape[1]), Y.shape)}"
        raise InputError(f"Y: expected ({classes}, {X.shape[1]}), classes × examples, {end}")
    extremes = torch.stack(X.aminmax())
    if not extremes.isfinite().all():
        raise InputError(f"X: expected finite numbers, got {extremes[~extremes.isfinite()][0]}")
    check_one_hot("Y", Y)
    return X.detach(), Y.detach()


def check_batches(settings: Settings, examples: int) -> None:
    """Refuse a mini-batch that is larger than the training set, or has no variance to normalize by.

    Raises
    ------
    InputError
        If the batch size is above `examples`, or the variance is unbiased and a mini-batch has one example.
    """
    size, form = settings.batch_size, settings.normalization
    if size > examples:
        raise InputError(f"batch_size: expected at most the {examples} training examples, got {size}")
    unbiased = settings.batchnorm != "none" and (form.variance, form.over) == ("unbiased", "examples")
    if unbiased and 1 in (size, examples % size):
        raise InputError(
            f"batch_size: expected no mini-batch of one of the {examples} training examples, since the variance is "
            f"unbiased, got {size}"
        )


def l_layer_model(
    X: ArrayLike,
    Y: ArrayLike,
    layers_dims: Sequence[int],
    learning_rate: float = 0.009,
    num_iterations: int = 100,
    batch_size: int = 32,
    batchnorm: str = "none",
    L2: float = 0.0,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    seed: int | Seeds = 0,
    on_eval: Callable[[Record], object] | None = None,
    **settings: Any,
) -> tuple[Parameters, list[float]]:
    """Train one network on mini-batches.

    Parameters
    ----------
    X, Y : (features, m) inputs and (classes, m) one-hot labels. All is computed in X's precision, float32 or float64.
        X of whole numbers is refused: grey levels go through `normalize` first.
    layers_dims : units of every layer, for example [784, 20, 7, 5, 10]
    learning_rate : α of the update, θ − α dθ unless another optimizer is chosen
    num_iterations : the assignment's name for the epochs, passes over X. After 0 the parameters are the initial ones.
    batch_size : examples a step; the last step of an epoch takes what is left
    batchnorm : "none", "exact" or "straight_through", as in `Settings`
    L2 : λ; divided by the batch size in the gradient, and in each cost by the number of examples that it is the mean of
    validation : (X, Y) that is evaluated for early stopping; without it all epochs are run
    seed : of the initial weights and of the shuffles; `Seeds` has one for each
    on_eval : called with a plain record at every evaluation: step, epoch, train_cost (of the step's mini-batch, before
        its update), validation_cost and validation_accuracy (after it; None without a validation set),
        sum_squared_weights (before it), status ("running", "finished", "stopped" or "diverged")
    settings : all other entries of `Settings`: initialization, activation, normalization, optimizer, momentum, shuffle,
        stopping

    Returns
    -------
    parameters : those of the last step or, if `stopping.returns` is "best", of the best validation at a multiple of
        `stopping.eval_every` steps, where there is one
    costs : the training cost every `stopping.eval_every` steps; a cost that is not finite ends the run

    Raises
    ------
    InputError
        If an argument does not fit; the message names it.
    """
    if "epochs" in settings:
        raise InputError("epochs: no such argument; it is num_iterations, the assignment's name")
    epochs = checked("num_iterations", num_iterations, NotNegativeInt)
    seeds = Seeds.of(seed)
    on_eval = checked("on_eval", on_eval, Callable[..., Any] | None)
    chosen = Settings(
        layers_dims=layers_dims,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        batchnorm=batchnorm,
        L2=L2,
        **settings,
    )
    X, Y = check_set(X, Y, chosen.layers_dims)
    check_batches(chosen, X.shape[1])
    validation_set = None
    if validation is not None:
        with naming("validation"):
            X_validation, Y_validation = check_set(*pair(validation, "X, Y"), chosen.layers_dims)
        validation_set = X_validation.to(X), Y_validation.to(X)
    # An example's numbers side by side in memory: gathering a mini-batch of columns is ten times slower.
    rows, labels = X.T.contiguous(), Y.T.contiguous()
    initial = initialize_parameters(
        chosen.layers_dims, initialization=chosen.initialization, seed=seeds.weights, dtype=X.dtype
    )
    parameters = {name: value.to(X.device) for name, value in initial.items()}
    best: Parameters | None = None
    state: OptimizerState = {}
    stopping, last_step = StoppingRule(chosen.stopping), chosen.last_step(X.shape[1])
    costs: list[float] = []
    step = 0
    for epoch in range(1, epochs + 1):
        for batch in mini_batches(X.shape[1], chosen.batch_size, seeds.shuffle, epoch, chosen.shuffle):
            step += 1
            before = parameters
            X_batch, Y_batch = rows[batch].T, labels[batch].T
            parameters, ZL = gradient_step(X_batch, Y_batch, before, chosen, state)
            # If the last step lies between two regular evaluations, its own does not count: a longer run would not have
            # it.
            regular = step % chosen.stopping.eval_every == 0
            if not regular and step != last_step:
                continue
            cost = compute_cost_from_logits(ZL, Y_batch, before, chosen.L2)
            finite, stop = bool(cost.isfinite()), False
            validation_cost = validation_accuracy = None
            if validation_set:
                validation_cost = evaluate_cost(*validation_set, parameters, chosen).cpu()
                validation_accuracy = predict(*validation_set, parameters, **chosen.operations()).cpu()
                finite = finite and bool(validation_cost.isfinite())
                if regular:
                    stop, is_best = map(bool, stopping.evaluate(validation_cost, validation_accuracy))
                    best = parameters if is_best else best
            status = "diverged" if not finite else "stopped" if stop else "finished" if step == last_step else "running"
            if regular:
                costs.append(cost.item())
            if on_eval:
                on_eval(
                    {
                        "step": step,
                        "epoch": epoch,
                        "train_cost": cost.item(),
                        "validation_cost": None if validation_cost is None else validation_cost.item(),
                        "validation_accuracy": None if validation_accuracy is None else validation_accuracy.item(),
                        "sum_squared_weights": sum_squared_weights(before).item(),
                        "status": status,
                    }
                )
            if status in ("stopped", "diverged"):
                break
        else:
            continue
        break
    return best if best and chosen.stopping.returns == "best" else parameters, costs


def gradient_step(
    X: ArrayLike,
    Y: ArrayLike,
    parameters: Mapping[str, ArrayLike],
    settings: Settings,
    state: OptimizerState | None = None,
) -> tuple[Parameters, Tensor]:
    """Forward, backward and update on one mini-batch.

    Parameters
    ----------
    X, Y : (features, m) inputs and (classes, m) one-hot labels
    parameters : W1, b1, ..., WL, bL, of one network or of several
    settings : of which the activation, the batch norm, L2 and the optimizer with its hyperparameters play a part
    state : of the optimizer, as `update_parameters` has it

    Returns
    -------
    parameters : the new ones
    ZL : (..., classes, m) the output layer's Z of the old ones

    Raises
    ------
    InputError
        If X, Y and the layers do not fit together, or settings are not a `Settings`.
    """
    checked("settings", settings, InstanceOf[Settings])
    AL, caches = l_model_forward(X, parameters, **settings.operations())
    grads = l_model_backward(AL, Y, caches, settings.L2, **settings.operations())
    rates = settings.rates()._asdict()
    parameters = update_parameters(parameters, grads, optimizer=settings.optimizer, state=state, **rates)
    return parameters, caches[-1].activation_cache


def evaluate_cost(X: ArrayLike, Y: ArrayLike, parameters: Mapping[str, ArrayLike], settings: Settings) -> Tensor:
    """The cost over a whole set, its L2 term divided by the size of that set.

    Parameters
    ----------
    X, Y : (features, m) inputs and (classes, m) one-hot labels
    parameters : W1, b1, ..., WL, bL, of one network or of several
    settings : of which the activation, the batch norm and L2 play a part

    Returns
    -------
    One cost for each network, shape (...); a 0-d tensor for one.

    Raises
    ------
    InputError
        If X, Y and the layers do not fit together, or settings are not a `Settings`.
    """
    checked("settings", settings, InstanceOf[Settings])
    _, caches = l_model_forward(X, parameters, **settings.operations())
    return compute_cost_from_logits(caches[-1].activation_cache, Y, parameters, settings.L2)
