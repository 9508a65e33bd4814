"""R networks side by side: `l_layer_model` for many seeds at once.

It computes what the functions of `nnlib.layers` and `nnlib.model` compute, fused for speed:

- the bias is a last column of the weights, `W (R, out, in + 1)`, and every input has a last row of ones, so that one
  batched product gives Z = W A + b, and one the gradients of W and b together;
- the update is that product's own accumulation, `W ← (1 − α λ/m) W − α/m dZ Aᵀ`: no gradient is ever stored;
- all weights lie in one buffer, so that one product with it is every layer's decay;
- an example is one row `[x | 1 | y]`, so that one `index_select` gathers the mini-batches of all replicas;
- a look at the validation cost is one product for the first layer of all replicas;
- every buffer is made once.

Replica k draws its first weights and its order from a generator of its own and is computed by products of its own. With
one thread it has the same bits whatever runs beside it; with more, the matrix library shares the products out by how
many there are, and another R moves its last digits. The same R repeats to the bit with any number of threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import psutil
import torch
from torch import Generator, Tensor

from nnlib.layers import BATCHNORM_BACKWARD, BATCHNORM_EPSILON, apply_batchnorm, choose, per_network
from nnlib.model import (
    Parameters,
    compute_cost_from_logits,
    initialize_parameters,
    predict,
    sum_squared_weights,
)
from nnlib.training import (
    LOOK_EVERY,
    PATIENCE,
    STOPPING_RULES,
    THRESHOLD,
    Record,
    StoppingRule,
    check_training_set,
)

# Mini-batches gathered at a time, over replicas and steps: enough work for every thread, little enough for the cache.
GATHER = 32
# The one form of ReLU's backward that writes where it is told to.
RELU_BACKWARD = torch.ops.aten.threshold_backward.grad_input
# Numbers held at a time when whole sets pass through many networks.
EVALUATE = 2**24


@dataclass(frozen=True)
class Settings:
    """What one configuration is trained with; names and meanings as in `l_layer_model`.

    `L2` may be a tensor of shape (R,), one λ for each replica.
    """

    layers_dims: Sequence[int]
    learning_rate: float = 0.009
    epochs: int = 100
    batch_size: int = 32
    use_batchnorm: bool = False
    L2: float | Tensor = 0.0
    batchnorm_rule: str = "straight_through"
    rule: str = "he_fan_out"
    patience: int = PATIENCE
    threshold: float = THRESHOLD
    stopping_rule: str = "change"
    look_every: int = LOOK_EVERY


@dataclass
class Run:
    """R trained networks, how they got there, and all that is needed to go on.

    Attributes
    ----------
    parameters : W1 (R, out, in), b1 (R, out, 1), ..., each replica's last ones
    epoch, step : how far the run has come
    steps : (looks,) the steps at which costs were logged
    train_cost, validation_cost, sum_squared_weights : (looks, R); NaN once a replica is frozen
    stopped_at, diverged_at : (R,) the step at which the replica stopped or its cost was no longer finite; 0 for none
    generators : (R, n) the random generators' states
    reference, looks_since : (R,) the stopping rule's memory
    """

    parameters: Parameters
    generators: Tensor
    reference: Tensor
    looks_since: Tensor
    stopped_at: Tensor
    diverged_at: Tensor
    epoch: int = 0
    step: int = 0
    steps: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    train_cost: Tensor = field(default_factory=lambda: torch.empty(0))
    validation_cost: Tensor = field(default_factory=lambda: torch.empty(0))
    sum_squared_weights: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def begin(cls, settings: Settings, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> Run:
        """Networks with first weights, nothing trained yet."""
        generators = [Generator().manual_seed(seed) for seed in seeds]
        parameters = initialize_parameters(settings.layers_dims, rule=settings.rule, seed=generators, dtype=dtype)
        never = torch.zeros(len(seeds), dtype=torch.int64)
        nothing = torch.empty(0, len(seeds), dtype=dtype)
        return cls(
            parameters=parameters,
            generators=torch.stack([generator.get_state() for generator in generators]),
            reference=torch.full((len(seeds),), torch.inf, dtype=dtype),
            looks_since=never,
            stopped_at=never.clone(),
            diverged_at=never.clone(),
            train_cost=nothing,
            validation_cost=nothing,
            sum_squared_weights=nothing,
        )

    @property
    def replicas(self) -> int:
        return len(self.reference)

    @property
    def running(self) -> Tensor:
        """(R,) True for each replica that neither stopped nor diverged."""
        return (self.stopped_at == 0) & (self.diverged_at == 0)

    def look(self, train_cost: Tensor, validation_cost: Tensor, settings: Settings) -> Tensor:
        """Take in the costs (R,) of the latest look; True for each replica that it freezes."""
        running = self.running
        stopping = StoppingRule(
            settings.patience, settings.threshold, settings.stopping_rule, self.reference, self.looks_since
        )
        stop = running & stopping.look(validation_cost)
        diverge = running & ~(train_cost.isfinite() & validation_cost.isfinite())
        self.reference = stopping.reference.where(running, self.reference)
        self.looks_since = stopping.looks_since.where(running, self.looks_since)
        self.diverged_at = torch.where(diverge, self.step, self.diverged_at)
        self.stopped_at = torch.where(stop & ~diverge, self.step, self.stopped_at)
        return stop | diverge

    def keep(self, parameters: Parameters, which: Tensor) -> None:
        """Take over the present parameters of some replicas; `which (R,)` says of which."""
        for name, value in parameters.items():
            self.parameters[name][which] = value.cpu()[which]

    def tensors(self) -> dict[str, Tensor]:
        """The whole run as named tensors, for a file; `from_tensors` is the inverse."""
        state = {name: torch.as_tensor(value) for name, value in vars(self).items() if name != "parameters"}
        return self.parameters | state

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Run:
        names = cls.__dataclass_fields__.keys() - {"parameters"}
        state: dict[str, Any] = {name: tensors[name] for name in names}
        state["epoch"], state["step"] = int(state["epoch"]), int(state["step"])
        return cls(parameters={name: tensors[name] for name in tensors if name not in names}, **state)

    def records(self) -> list[Record]:
        """The history as plain records, one for each look at each replica that was still running."""
        return [
            {"replica": replica, "step": int(step)}
            | {name: getattr(self, name)[look, replica].item() for name in COSTS}
            for replica in range(self.replicas)
            for look, step in enumerate(self.steps)
            if not 0 < max(self.stopped_at[replica], self.diverged_at[replica]) < step
        ]


COSTS = ("train_cost", "validation_cost", "sum_squared_weights")


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
    settings : learning rate, λ and batch norm
    """

    def __init__(self, weights: Weights, m: int, settings: Settings) -> None:
        first = weights.layers[0]
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
        self.rate = -settings.learning_rate / m
        self.decay = self._decay(per_network(settings.L2, first))
        self.use_batchnorm = settings.use_batchnorm
        self.exact = settings.batchnorm_rule == "exact"
        self.deviations: list[Tensor] = [first] * len(self.A)

    def _decay(self, L2: Tensor) -> Tensor | None:
        """What each number of the buffer is multiplied by: 1 − α λ/m for a weight, 1 for a bias; None if λ is 0."""
        if not bool(L2.any()):
            return None
        factors = {
            name: torch.ones_like(value) * (1 + self.rate * L2 if name.startswith("W") else 1)
            for name, value in split(self.weights).items()
        }
        return join(factors, L2.device).buffer

    def forward(self, batch: Batch) -> Tensor:
        """The output layer's Z (R, classes, m), valid until the next call."""
        inputs = batch.inputs
        for layer, A in enumerate(self.A):
            Z = torch.bmm(self.weights.layers[layer], inputs, out=self.Z[layer])
            if self.use_batchnorm:
                # Layer norm over the last axis, without scale or shift, is batch norm here: that axis is the batch.
                A_norm, _, self.deviations[layer] = torch.native_layer_norm(
                    Z.clamp_min_(0), [self.m], None, None, BATCHNORM_EPSILON
                )
                A.copy_(A_norm)
            else:
                torch.clamp_min(Z, 0, out=A)
            inputs = self.inputs[layer]
        return torch.bmm(self.weights.layers[-1], inputs, out=self.Z[-1])

    def backward(self, batch: Batch) -> None:
        """Backward from dZ = AL − Y, and update every weight."""
        torch.softmax(self.Z[-1], 1, out=self.dZ[-1]).sub_(batch.labels)
        for layer in range(len(self.A) - 1, -1, -1):
            dA = torch.bmm(self.unbiased_T[layer + 1], self.dZ[layer + 1], out=self.dZ[layer])
            if self.use_batchnorm and self.exact:
                self._batchnorm_backward(dA, layer)
            # dZ = dA where Z > 0, in place.
            RELU_BACKWARD(dA, self.Z[layer], 0, grad_input=dA)
        if self.decay is not None:
            self.weights.buffer.mul_(self.decay)
        for W, dZ, inputs_T in zip(self.weights.layers, self.dZ, [batch.inputs_T, *self.inputs_T], strict=True):
            W.baddbmm_(dZ, inputs_T, alpha=self.rate)

    def _batchnorm_backward(self, dA: Tensor, layer: int) -> None:
        A_norm = self.A[layer]
        mean_product = (dA * A_norm).mean(-1, keepdim=True)
        dA.sub_(dA.mean(-1, keepdim=True)).sub_(A_norm * mean_product).mul_(self.deviations[layer])


def train_replicas(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    settings: Settings,
    seeds: Sequence[int],
    *,
    start: Run | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, Tensor], object] | None = None,
) -> Run:
    """Train one network for each seed, all at once, to `settings.epochs`.

    A replica that the stopping rule ends, or whose cost is no longer finite, is frozen: the parameters of that look are
    kept and its costs end there, while the others go on. (It is still computed with them, for nothing.)

    Parameters
    ----------
    train, validation : (X, Y), features × examples and classes × examples
    settings : the configuration
    seeds : one for each replica
    start : a run of the same settings and seeds with fewer epochs, to go on from, bit for bit as if never interrupted;
        it must end at a look
    device : where to compute; the order of the examples is drawn on the CPU and does not depend on it
    progress : called at every look with (step, validation costs (R,))

    Returns
    -------
    A `Run`, its tensors on the CPU.

    Raises
    ------
    ValueError
        If an argument does not fit, with its name.
    MemoryError
        If the replicas do not fit in the device's memory; raised before training starts.
    """
    X, Y = train
    check_training_set(X, Y, settings.layers_dims, settings.batch_size)
    check_settings(settings, seeds, start)
    device = torch.device(device)
    check_memory(settings, len(seeds), validation[0].shape[1], X.element_size(), device)

    run = replace(start) if start else Run.begin(settings, seeds, X.dtype)
    run.parameters = {name: value.clone() for name, value in run.parameters.items()}
    generators = [Generator() for _ in seeds]
    for generator, state in zip(generators, run.generators, strict=True):
        generator.set_state(state.clone())  # a view into a larger tensor crashes torch 2.14

    examples = X.shape[1]
    rows = torch.cat([X.T, X.new_ones(examples, 1), Y.T], 1).to(device)
    rows_seen, Y_seen = validation[0].T.contiguous().to(device), validation[1].to(device)
    L2 = torch.as_tensor(settings.L2, dtype=X.dtype, device=device)
    weights = join(run.parameters, device)
    parameters = split(weights)
    steps = {m: Step(weights, m, settings) for m in {settings.batch_size, examples % settings.batch_size} - {0}}
    last_step = settings.epochs * -(-examples // settings.batch_size)

    looks: list[tuple[int, Tensor]] = []
    while run.epoch < settings.epochs and bool(run.running.any()):
        orders = torch.stack([torch.randperm(examples, generator=generator) for generator in generators])
        for batch in gather(rows, orders.to(device), settings.batch_size, Y.shape[0]):
            run.step += 1
            step = steps[batch.inputs.shape[-1]]
            ZL = step.forward(batch)
            look = run.step % settings.look_every == 0 or run.step == last_step
            if look:
                train_cost = compute_cost_from_logits(ZL, batch.labels, parameters, L2)
                squares = sum_squared_weights(parameters)
            step.backward(batch)
            if look:
                validation_cost = evaluate_replicas(rows_seen, Y_seen, parameters, settings.use_batchnorm, L2)
                seen = torch.stack([train_cost, validation_cost, squares]).cpu()
                looks.append((run.step, seen.masked_fill(~run.running, torch.nan)))
                run.keep(parameters, run.look(seen[0], seen[1], settings))
                if progress:
                    progress(run.step, seen[1])
        run.epoch += 1
    run.keep(parameters, run.running)
    run.generators = torch.stack([generator.get_state() for generator in generators])
    if looks:
        run.steps = torch.cat([run.steps, torch.tensor([at for at, _ in looks])])
        for name, values in zip(COSTS, torch.stack([seen for _, seen in looks], 1), strict=True):
            setattr(run, name, torch.cat([getattr(run, name), values]))
    return run


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


def evaluate_replicas(rows: Tensor, Y: Tensor, parameters: Parameters, use_batchnorm: bool, L2: Tensor) -> Tensor:
    """`evaluate_cost` of R networks over one set, examples × features; (R,)."""
    W, b = parameters["W1"], parameters["b1"]
    Z = torch.nn.functional.linear(rows, W.flatten(0, 1), b.flatten()).view(-1, *b.shape[:2]).permute(1, 2, 0)
    for layer in range(2, len(parameters) // 2 + 1):
        A = Z.clamp_min_(0)
        if use_batchnorm:
            A = apply_batchnorm(A)
        Z = (parameters[f"W{layer}"] @ A).add_(parameters[f"b{layer}"])
    return compute_cost_from_logits(Z, Y, parameters, L2)


def join(parameters: Parameters, device: torch.device) -> Weights:
    """W (R, out, in) and b (R, out, 1) of each layer side by side, in one new buffer on the device."""
    numbers = range(1, len(parameters) // 2 + 1)
    layers = [torch.cat([parameters[f"W{layer}"], parameters[f"b{layer}"]], -1) for layer in numbers]
    buffer = torch.cat([W.flatten() for W in layers]).to(device)
    parts = buffer.split([W.numel() for W in layers])
    return Weights(buffer, [part.view_as(W) for part, W in zip(parts, layers, strict=True)])


def split(weights: Weights) -> Parameters:
    """The inverse of `join`, as views."""
    return {
        name: value
        for layer, W in enumerate(weights.layers, start=1)
        for name, value in ((f"W{layer}", W[..., :-1]), (f"b{layer}", W[..., -1:]))
    }


def check_settings(settings: Settings, seeds: Sequence[int], start: Run | None) -> None:
    """Raise a ValueError that names the argument if settings, seeds and the run to go on from do not fit together."""
    choose(BATCHNORM_BACKWARD, settings.batchnorm_rule, "batchnorm_rule")
    choose(STOPPING_RULES, settings.stopping_rule, "stopping_rule")
    if not seeds:
        raise ValueError("seeds: expected one or more, got none")
    strengths = torch.as_tensor(settings.L2).numel()
    if strengths not in (1, len(seeds)):
        raise ValueError(f"L2: expected one number, or one for each of the {len(seeds)} seeds, got {strengths}")
    if start and start.replicas != len(seeds):
        raise ValueError(f"start: expected a run of {len(seeds)} replicas, one for each seed, got {start.replicas}")
    if start and start.step % settings.look_every:
        raise ValueError(
            f"start: expected a run that ends at a look, a multiple of {settings.look_every} steps, got {start.step}"
        )


def check_memory(settings: Settings, replicas: int, examples: int, bytes_each: int, device: torch.device) -> None:
    """Raise a MemoryError if the networks and the widest pass, all replicas over the validation set, do not fit."""
    dims = settings.layers_dims
    weights = sum(fan_out * (fan_in + 1) for fan_in, fan_out in itertools.pairwise(dims))
    mini_batches = 3 * settings.batch_size * sum(dims) + GATHER * settings.batch_size * dims[0] // min(replicas, GATHER)
    # Forward over a set holds, for each layer, the product, its activation and their caches at the same time.
    evaluation = 3 * examples * sum(dims[1:])
    needed = replicas * (2 * weights + mini_batches + evaluation) * bytes_each
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise MemoryError(
            f"replicas: {replicas} need about {needed / 2**30:.1f} GiB of memory on {device}, "
            f"{free / 2**30:.1f} GiB are free; about {max(1, int(replicas * free / needed))} would fit"
        )


def accuracy(X: Tensor, Y: Tensor, parameters: Parameters, *, use_batchnorm: bool = False) -> Tensor:
    """`predict` for many networks over a large set, a few networks at a time; (R,) fractions."""
    widest = X.shape[1] * max(W.shape[-2] for W in parameters.values())
    at_a_time = max(1, EVALUATE // widest)
    parts = zip(*(value.split(at_a_time) for value in parameters.values()), strict=True)
    return torch.cat(
        [predict(X, Y, dict(zip(parameters, part, strict=True)), use_batchnorm=use_batchnorm) for part in parts]
    )
