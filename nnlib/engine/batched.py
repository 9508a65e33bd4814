"""The engine for any device: R networks side by side as torch products, for `device: cuda`.

It computes what the functions of `nnlib.core.layers` and `nnlib.core.model` compute, fused for speed:

- the bias is a last column of the weights, `W (R, out, in + 1)`, and every input has a last row of ones, so that one
  batched product gives Z = W A + b, and one the gradients of W and b together;
- the update of plain gradient descent is that product's own accumulation, `W ← (1 − α λ/m) W − α/m dZ Aᵀ`: no gradient
  is stored; for other optimizers it is;
- all weights lie in one buffer, so that one product with it is every layer's decay, and one call every layer's update;
- an example is one row `[x | 1 | y]`, so that one `index_select` gathers the mini-batches of all replicas;
- an evaluation is one product for the first layer of all replicas;
- the buffers of a step are made once.

Initial weights and shuffles are those of the CPU engine; the products' last digits depend on the device and on R.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from nnlib.core.layers import apply_batchnorm
from nnlib.core.model import Parameters, compute_cost_from_logits, sum_squared_weights
from nnlib.core.optimizers import OPTIMIZERS
from nnlib.core.seeds import Seeds, epoch_order
from nnlib.core.settings import Normalization, Settings
from nnlib.engine.run import BY_PARAMETER, FUSED, HISTORY, OnEval, Run

# Mini-batches gathered at a time, over replicas and steps: enough work for every thread, little enough for the cache.
GATHER = 32
# Of each activation the forward into a given tensor, and the backward in place, from A: the forms that write where they
# are told to.
ACTIVATIONS = MappingProxyType(
    {
        "relu": (
            lambda Z, out: torch.clamp_min(Z, 0, out=out),
            lambda dA, A: torch.ops.aten.threshold_backward.grad_input(dA, A, 0, grad_input=dA),
        ),
        "sigmoid": (
            lambda Z, out: torch.sigmoid(Z, out=out),
            lambda dA, A: torch.ops.aten.sigmoid_backward.grad_input(dA, A, grad_input=dA),
        ),
    }
)


class Weights(NamedTuple):
    """All weights and biases in one buffer, and each layer's as a view of it, `[W | b]` (R, out, in + 1)."""

    buffer: Tensor
    layers: list[Tensor]


class Batch(NamedTuple):
    """A mini-batch for each replica: inputs (R, in + 1, m), the same as (R, m, in + 1), labels (R, classes, m)."""

    inputs: Tensor
    inputs_T: Tensor
    labels: Tensor


class Step:
    """One gradient step of R networks, each on its own mini-batch of m examples.

    Parameters
    ----------
    weights : of the R networks, changed in place
    m : examples in each mini-batch
    settings : the networks' configuration
    state : the optimizer's, arrays in the layout of the weights' buffer; changed in place
    """

    def __init__(self, weights: Weights, m: int, settings: Settings, state: Sequence[Weights]) -> None:
        first, *_ = weights.layers
        sizes = [W.shape[1] for W in weights.layers]
        replicas = first.shape[0]
        self.weights = weights
        self.unbiased_T = [W[:, :, :-1].mT for W in weights.layers]
        self.Z = [first.new_empty(replicas, n, m) for n in sizes]
        self.dZ = [first.new_empty(replicas, n, m) for n in sizes]
        self.inputs = [first.new_ones(replicas, n + 1, m) for n in sizes[:-1]]
        self.A = [A[:, :-1] for A in self.inputs]
        self.inputs_T = [A.mT for A in self.inputs]
        self.m = m
        self.gradient = None if settings.optimizer == FUSED else like(weights)
        self.state = [array.buffer for array in state]
        self.update, self.rates = OPTIMIZERS[settings.optimizer].update, settings.rates()
        # What dZ Aᵀ is multiplied by: for the weights themselves −α/m, for a gradient 1/m.
        self.rate = -settings.learning_rate / m if self.gradient is None else 1 / m
        self.decay = self._decay(settings.L2)
        self.activation, self.activation_backward = ACTIVATIONS[settings.activation]
        self.batchnorm = settings.batchnorm
        self.normalization = settings.normalization
        # Layer norm over the last axis, without scale or shift, is batch norm here: that axis is the batch.
        self.is_layer_norm = settings.normalization == Normalization(epsilon=settings.normalization.epsilon)
        self.deviations: list[Tensor] = [first] * len(self.A)

    def _decay(self, L2: float) -> Tensor | None:
        """What each number of the buffer is multiplied by: 1 − α λ/m for a weight and 1 for a bias, for a gradient λ/m
        and 0; None if λ is 0."""
        if not L2:
            return None
        bias = 1 if self.gradient is None else 0
        factors = {
            name: torch.full_like(value, bias + self.rate * L2 if name.startswith("W") else bias)
            for name, value in split(self.weights).items()
        }
        return join(factors, self.weights.buffer.device).buffer

    def forward(self, batch: Batch) -> Tensor:
        """The output layer's Z (R, classes, m), valid until the next call."""
        inputs = batch.inputs
        for layer, A in enumerate(self.A):
            Z = torch.bmm(self.weights.layers[layer], inputs, out=self.Z[layer])
            if self.batchnorm == "none":
                self.activation(Z, A)
            elif self.is_layer_norm:
                A_norm, _, self.deviations[layer] = torch.native_layer_norm(
                    self.activation(Z, Z), [self.m], None, None, self.normalization.epsilon
                )
                A.copy_(A_norm)
            else:
                A.copy_(apply_batchnorm(self.activation(Z, Z), **dict(self.normalization)))
            inputs = self.inputs[layer]
        return torch.bmm(self.weights.layers[-1], inputs, out=self.Z[-1])

    def backward(self, batch: Batch) -> None:
        """Backward from dZ = AL − Y, and update every weight."""
        torch.softmax(self.Z[-1], 1, out=self.dZ[-1]).sub_(batch.labels)
        for layer in range(len(self.A) - 1, -1, -1):
            dA = torch.bmm(self.unbiased_T[layer + 1], self.dZ[layer + 1], out=self.dZ[layer])
            if self.batchnorm == "exact":
                self._batchnorm_backward(dA, layer)
            # With batch norm, the activation before it lies in the place of Z.
            self.activation_backward(dA, self.A[layer] if self.batchnorm == "none" else self.Z[layer])
        target = self.gradient or self.weights
        if self.decay is not None:
            torch.mul(self.weights.buffer, self.decay, out=target.buffer)
        elif self.gradient:
            target.buffer.zero_()
        for W, dZ, inputs_T in zip(target.layers, self.dZ, [batch.inputs_T, *self.inputs_T], strict=True):
            W.baddbmm_(dZ, inputs_T, alpha=self.rate)
        if self.gradient:
            self.update(self.weights.buffer, self.gradient.buffer, self.state, self.rates)

    def _batchnorm_backward(self, dA: Tensor, layer: int) -> None:
        A_norm = self.A[layer]
        mean_product = (dA * A_norm).mean(-1, keepdim=True)
        dA.sub_(dA.mean(-1, keepdim=True)).sub_(A_norm * mean_product).mul_(self.deviations[layer])


def train_batched(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    settings: Settings,
    seeds: Sequence[int | Seeds],
    start: Run,
    device: torch.device,
    on_eval: OnEval,
) -> Run:
    """Train all replicas at once, from `start` to `settings.epochs`; they are on the CPU again in the end.

    A replica that stops or diverges keeps being computed with the others; its results are discarded.
    """
    X, Y = train
    examples, last_step = X.shape[1], settings.last_step(X.shape[1])
    run = start.resumable(settings)
    for which in BY_PARAMETER:
        setattr(run, which, {name: value.clone() for name, value in getattr(run, which).items()})
    rows = torch.cat([X.T, X.new_ones(examples, 1), Y.T], 1).to(device)
    rows_validation, Y_validation = validation[0].T.contiguous().to(device), validation[1].to(device)
    last = run.last_parameters or run.parameters
    weights = join(last, device)
    parameters = split(weights)
    arrays = range(OPTIMIZERS[settings.optimizer].arrays)
    state = [join({name: value[:, k] for name, value in run.optimizer_state.items()}, device) for k in arrays]
    steps = {m: Step(weights, m, settings, state) for m in {settings.batch_size, examples % settings.batch_size} - {0}}

    evaluations: list[tuple[int, dict[str, Tensor]]] = []
    while run.epoch < settings.epochs and bool(run.running.any()):
        run.epoch += 1
        each = (epoch_order(Seeds.of(seed).shuffle, run.epoch, examples, settings.shuffle) for seed in seeds)
        orders = torch.stack([torch.from_numpy(order) for order in each])
        for batch in gather(rows, orders.to(device), settings.batch_size, Y.shape[0]):
            run.step += 1
            step = steps[batch.inputs.shape[-1]]
            ZL = step.forward(batch)
            is_evaluation = run.step % settings.stopping.eval_every == 0 or run.step == last_step
            if is_evaluation:
                train_cost = compute_cost_from_logits(ZL, batch.labels, parameters, settings.L2)
                squares = sum_squared_weights(parameters)
            step.backward(batch)
            if is_evaluation:
                cost, accuracy = evaluate_replicas(rows_validation, Y_validation, parameters, settings)
                values = (train_cost, cost, squares, accuracy)
                evaluation = {name: value.cpu() for name, value in zip(HISTORY, values, strict=True)}
                ended = ~run.running
                hidden = {name: value.masked_fill(ended, torch.nan) for name, value in evaluation.items()}
                evaluations.append((run.step, hidden))
                ends, best = run.evaluate(evaluation, settings)
                keep(last, parameters, ends)
                if run.last_parameters:
                    keep(run.parameters, parameters, best)
                for replica, cost in enumerate(evaluation["validation_cost"].tolist()):
                    on_eval(replica, run.step, cost)
    keep(last, parameters, run.running)
    for k, array in enumerate(state):
        keep({name: value[:, k] for name, value in run.optimizer_state.items()}, split(array), run.running)
    run.log(evaluations)
    run.finish(settings, last_step)
    return run


def keep(kept: Parameters, parameters: Parameters, which: Tensor) -> None:
    """Copy the present parameters of some replicas; `which (R,)` says of which."""
    for name, value in parameters.items():
        kept[name][which] = value.cpu()[which]


def gather(rows: Tensor, orders: Tensor, batch_size: int, classes: int) -> Iterator[Batch]:
    """The mini-batches of one epoch, for rows `[x | 1 | y]` (N, in + 1 + classes) and the replicas' orders (R, N).

    Each is valid until the next one.
    """
    replicas, examples = orders.shape
    at_a_time = max(1, GATHER // replicas)
    whole = examples // batch_size * batch_size
    for part, m in ((orders[:, :whole], batch_size), (orders[:, whole:], examples - whole)):
        if not m:
            continue
        steps = part.reshape(replicas, -1, m).transpose(0, 1)
        buffer = rows.new_empty(at_a_time, replicas, m, rows.shape[1])
        batches = [Batch(x.mT, x, y.mT) for x, y in (b.tensor_split([-classes], -1) for b in buffer)]
        for chunk in steps.split(at_a_time):
            torch.index_select(rows, 0, chunk.reshape(-1), out=buffer[: len(chunk)].view(-1, rows.shape[1]))
            yield from batches[: len(chunk)]


def evaluate_replicas(rows: Tensor, Y: Tensor, parameters: Parameters, settings: Settings) -> tuple[Tensor, Tensor]:
    """`evaluate_cost` and `predict` of R networks over one set, examples × features; (R,) each."""
    activation, _ = ACTIVATIONS[settings.activation]
    W, b = parameters["W1"], parameters["b1"]
    Z = torch.nn.functional.linear(rows, W.flatten(0, 1), b.flatten()).view(-1, *b.shape[:2]).permute(1, 2, 0)
    for layer in range(2, len(parameters) // 2 + 1):
        A = activation(Z, Z)
        if settings.batchnorm != "none":
            A = apply_batchnorm(A, **dict(settings.normalization))
        Z = (parameters[f"W{layer}"] @ A).add_(parameters[f"b{layer}"])
    correct = (Z.argmax(-2) == Y.argmax(-2)).to(Z.dtype).mean(-1)
    return compute_cost_from_logits(Z, Y, parameters, settings.L2), correct.where(
        Z.isfinite().all(-2).all(-1), torch.nan
    )


def join(parameters: Parameters, device: torch.device) -> Weights:
    """W (R, out, in) and b (R, out, 1) of each layer side by side, in one new buffer on the device."""
    numbers = range(1, len(parameters) // 2 + 1)
    layers = [torch.cat([parameters[f"W{layer}"], parameters[f"b{layer}"]], -1) for layer in numbers]
    return in_buffer(torch.cat([W.flatten() for W in layers]).to(device), layers)


def like(weights: Weights) -> Weights:
    """Another buffer for as many numbers."""
    return in_buffer(torch.empty_like(weights.buffer), weights.layers)


def in_buffer(buffer: Tensor, layers: Sequence[Tensor]) -> Weights:
    """The buffer with views of the layers' shapes."""
    parts = buffer.split([W.numel() for W in layers])
    return Weights(buffer, [part.view_as(W) for part, W in zip(parts, layers, strict=True)])


def split(weights: Weights) -> Parameters:
    """The inverse of `join`, as views."""
    return {
        name: value
        for layer, W in enumerate(weights.layers, start=1)
        for name, value in ((f"W{layer}", W[..., :-1]), (f"b{layer}", W[..., -1:]))
    }
