"""Microseconds that one gradient step of one network takes: this engine, other ways to train, and the floors.

Everyone does the same work on MNIST as the pipeline splits it: shuffled mini-batches from memory, forward, backward,
L2, update, and no evaluation of a validation set. A round is one epoch of each in turn; the numbers are medians over
rounds. It needs the pipeline's data, `dvc repro preprocess`. Run as

    python -m benchmarks.training [--rounds N] [--threads N]
"""

from __future__ import annotations

import argparse
import operator
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from benchmarks.common import FOLDER, in_words, machine, markdown, spread, take_turns, timed, warn_if_busy
from nnlib import (
    Settings,
    initialize_parameters,
    l_model_backward,
    l_model_forward,
    load_mnist,
    update_parameters,
)
from nnlib.core.seeds import Seeds, epoch_order
from nnlib.core.settings import Stopping
from nnlib.core.training import mini_batches
from nnlib.data.files import write_json, write_text
from nnlib.engine.compiled import Evaluator, Replica, Sets, train_each
from nnlib.engine.jit import compiled
from nnlib.engine.kernel import AHEAD, first_layer, update_first_layer
from nnlib.engine.layout import Batch, to_csr
from nnlib.engine.run import Job, Run

DIMS = (784, 20, 7, 5, 10)
EXAMPLES, BATCH, RATE, L2 = 38_400, 32, 0.009, 0.01
STEPS = EXAMPLES // BATCH
EVALUATED, EVAL_EVERY = 9_600, 100  # images of the validation set, and steps from one evaluation to the next

# Trains for one epoch and returns the seconds.
Epoch = Callable[[], float]
Holds = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Data:
    """The training set, an example a row: inputs (N, features) and labels (N,); and both sets for the engine."""

    X: Tensor
    labels: Tensor
    sets: Sets

    @classmethod
    def load(cls) -> Data:
        mnist = load_mnist()
        (X, Y), validation = mnist["train"], mnist["validation"]
        return cls(X.T.contiguous(), Y.argmax(0), Sets(to_csr(X, Y), to_csr(*validation)))

    @property
    def Y(self) -> Tensor:
        return F.one_hot(self.labels, DIMS[-1]).to(self.X.dtype)


# Each of these prepares a contender, all its replicas.


def configuration(**own: Any) -> Settings:
    """Of the network that everyone trains; its epochs are given as it is trained."""
    stopping = Stopping(eval_every=STEPS, rule="change", returns="last")
    values = {"learning_rate": RATE, "epochs": 0, "batch_size": BATCH, "L2": L2, "stopping": stopping}
    return Settings(layers_dims=DIMS, initialization="he_fan_out", **values | own)


def begun(settings: Settings, replicas: int) -> dict[int, Run]:
    return {k: Run.begin(settings, [Seeds.of(k)]) for k in range(replicas)}


def engine(data: Data, replicas: int, threads: int = 1, **own: Any) -> Epoch:
    """The CPU engine, an epoch after the other, each ended by an evaluation of two examples."""
    few = data.sets.validation
    sets = Sets(data.sets.train, few._replace(indptr=few.indptr[:3], labels=few.labels[:2]))
    settings = configuration(**own)
    runs, epochs = begun(settings, replicas), count(1)

    def epoch() -> None:
        longer = settings.replace(epochs=next(epochs))
        jobs = {k: Job(longer, Seeds.of(k), run, (longer.epochs,)) for k, run in runs.items()}
        runs.update(train_each(sets, jobs, threads=threads, on_eval=lambda *_: None))

    return timed(epoch)


def busy_beside(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """The same while another process keeps one core busy."""
    epoch = engine(data, replicas, threads)

    def beside() -> float:
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
            time.sleep(0.1)
            seconds = epoch()
            other.kill()
        return seconds

    return beside


def evaluations(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """An epoch's evaluations at 9,600 images, one every 100 steps."""
    settings = configuration()
    networks = [Replica(run.parameters, settings) for run in begun(settings, replicas).values()]
    pairs = [networks[k : k + 2] for k in range(0, replicas, 2)]
    evaluators = [Evaluator() for _ in pairs]

    def epoch() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(STEPS // EVAL_EVERY):
                list(pool.map(lambda evaluator, pair: evaluator(data.sets.validation, pair), evaluators, pairs))

    return timed(epoch)


@compiled
def first_layer_alone(net: Any, csr: Any, order: Any, work: Any, rate: Any) -> None:
    for first in range(0, len(order), work.batch):
        batch = Batch(csr, order, first, work.batch)
        first_layer(net, batch, work, AHEAD)
        update_first_layer(net, batch, work, rate, 0 * rate)


def sparse_floor(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """Only the first layer's forward and update over features that are not 0, on the same mini-batches."""
    settings = configuration()
    networks = [Replica(run.parameters, settings) for run in begun(settings, replicas).values()]
    epochs = count(1)

    def epoch() -> None:
        number = next(epochs)

        def task(k: int) -> None:
            one = networks[k]
            rate = one.dtype.type(-RATE / BATCH)
            first_layer_alone(one.net, data.sets.train, epoch_order(k, number, EXAMPLES), one.work, rate)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, range(replicas)))

    return timed(epoch)


def floor(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """Only the first layer's two dense products, its forward and its weights' gradient, always on the same batch."""
    weights = torch.randn(replicas, DIMS[1], DIMS[0] + 1)
    inputs_T = torch.rand(replicas, BATCH, DIMS[0] + 1)
    Z = torch.empty(replicas, DIMS[1], BATCH)
    dZ = torch.rand_like(Z) - 0.5

    def epoch() -> None:
        for _ in range(STEPS):
            torch.bmm(weights, inputs_T.mT, out=Z)
            weights.baddbmm_(dZ, inputs_T, alpha=-RATE / BATCH)

    return timed(epoch)


def dictionaries(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """The readable loop of `l_layer_model`."""
    X, Y = data.X, data.Y
    parameters = initialize_parameters(DIMS)
    epochs = count(1)

    def epoch() -> None:
        nonlocal parameters
        for batch in mini_batches(EXAMPLES, BATCH, 0, next(epochs)):
            AL, caches = l_model_forward(X[batch].T, parameters)
            grads = l_model_backward(AL, Y[batch].T, caches, L2)
            parameters = update_parameters(parameters, grads, RATE)

    return timed(epoch)


def data_loader(data: Data, batch_size: int = BATCH) -> Iterator[Any]:
    dataset = torch.utils.data.TensorDataset(data.X, data.labels)
    yield from torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)


def in_memory(data: Data, batch_size: int = BATCH) -> Iterator[Any]:
    for batch in torch.randperm(EXAMPLES).split(batch_size):
        yield data.X[batch], data.labels[batch]


def autograd(
    data: Data,
    replicas: int,
    threads: int = 1,
    batches: Callable[..., Iterator[Any]] = data_loader,
    batch_size: int = BATCH,
    eval_every: int | None = None,
) -> Epoch:
    """The usual PyTorch program, with the cost of `EVALUATED` examples every so many steps, or without.

    Its weight decay takes in the biases: sorting them out would only cost it time.
    """
    layers = [layer for sizes in pairwise(DIMS) for layer in (nn.Linear(*sizes), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), RATE, weight_decay=L2 / batch_size)
    seen, seen_labels = data.X[:EVALUATED], data.labels[:EVALUATED]

    def epoch() -> None:
        for step, (x, labels) in enumerate(batches(data, batch_size), start=1):
            optimizer.zero_grad()
            with torch.enable_grad():
                cost = F.cross_entropy(model(x), labels)
            cost.backward()
            optimizer.step()
            if eval_every and step % eval_every == 0:
                F.cross_entropy(model(seen), seen_labels).item()

    return timed(epoch)


def vmap_grad(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """`torch.func`: the gradient of one network's cost, mapped over all networks."""
    parameters = {name: value.squeeze(-1) for name, value in initialize_parameters(DIMS, seed=range(replicas)).items()}
    generators = [Generator().manual_seed(seed) for seed in range(replicas)]

    def cost(parameters: dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
        weights, biases = list(parameters.values())[::2], list(parameters.values())[1::2]
        *hidden, last = zip(weights, biases, strict=True)
        for W, b in hidden:
            x = F.linear(x, W, b).relu()
        penalty = torch.stack([W.square().sum() for W in weights]).sum()
        return F.cross_entropy(F.linear(x, *last), labels) + L2 / (2 * BATCH) * penalty

    gradient = torch.func.vmap(torch.func.grad(cost))

    def epoch() -> None:
        orders = torch.stack([torch.randperm(EXAMPLES, generator=generator) for generator in generators])
        for batch in orders.split(BATCH, 1):
            for name, grad in gradient(parameters, data.X[batch], data.labels[batch]).items():
                parameters[name].sub_(grad, alpha=RATE)

    return timed(epoch)


def scikit_learn(data: Data, replicas: int, threads: int = 1, sparse: bool = False) -> Epoch:
    from scipy.sparse import csr_array
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(DIMS[1:-1], solver="sgd", alpha=L2, batch_size=BATCH, learning_rate_init=RATE, momentum=0)
    X = csr_array(data.X.numpy()) if sparse else data.X.numpy()
    fit = partial(model.partial_fit, X, data.labels.numpy(), classes=range(DIMS[-1]))
    return timed(fit)


def jax_scan(data: Data, replicas: int, threads: int = 1) -> Epoch:
    """An epoch as one compiled program: a scan over the steps, mapped over the networks."""
    import jax
    from jax import numpy as jnp

    X, Y = jnp.asarray(data.X.numpy()), jnp.asarray(data.Y.numpy())
    networks = initialize_parameters(DIMS, seed=range(replicas))
    state = [
        (jnp.asarray(networks[f"W{layer}"].mT.numpy()), jnp.asarray(networks[f"b{layer}"].mT.numpy()))
        for layer in range(1, len(DIMS))
    ]
    generators = [Generator().manual_seed(seed) for seed in range(replicas)]

    def cost(parameters: Any, x: Any, y: Any) -> Any:
        *hidden, (W_last, b_last) = parameters
        for W, b in hidden:
            x = jax.nn.relu(x @ W + b)
        penalty = sum((W * W).sum() for W, _ in parameters)
        return -(y * jax.nn.log_softmax(x @ W_last + b_last)).sum() / BATCH + L2 / (2 * BATCH) * penalty

    def step(parameters: Any, batch: Any) -> Any:
        grads = jax.grad(cost)(parameters, X[batch], Y[batch])
        return jax.tree.map(lambda value, grad: value - RATE * grad, parameters, grads), None

    train = jax.jit(jax.vmap(lambda parameters, order: jax.lax.scan(step, parameters, order)[0]))

    def epoch() -> None:
        nonlocal state
        orders = torch.stack([torch.randperm(EXAMPLES, generator=generator) for generator in generators])
        state = jax.block_until_ready(train(state, orders.view(replicas, STEPS, BATCH).int().numpy()))

    return timed(epoch)


@dataclass(frozen=True)
class Contender:
    name: str
    prepare: Callable[..., Epoch]
    replicas: int = 1
    # None: as many as asked for; a text: its library decides.
    threads: int | str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if isinstance(self.threads, int) else ""
        return f"{self.name}, R = {self.replicas}{threads}"


ENGINE, EVALUATION, BUSY, LOADER, JAX, DENSE, SPARSE = (
    "this engine",
    "this engine, evaluations alone",
    "this engine beside a busy process",
    "torch autograd, DataLoader",
    "JAX jit(vmap(scan))",
    "dense floor: two products",
    "sparse floor: the first layer",
)
NORM, EXACT = ", batch norm", ", batch norm, true derivative"

CONTENDERS = (
    Contender(ENGINE, engine, 1, 1),
    *(Contender(ENGINE, engine, 10, threads) for threads in (1, 2)),
    Contender(ENGINE, engine, 32),
    Contender(ENGINE + NORM, engine, 32, options={"batchnorm": "straight_through"}),
    Contender(ENGINE + EXACT, engine, 32, options={"batchnorm": "exact"}),
    Contender(EVALUATION, evaluations, 32),
    Contender(BUSY, busy_beside, 10, 2),
    Contender("study-style loop", dictionaries),
    Contender(LOADER, autograd),
    Contender("torch autograd, tensors in memory", autograd, options={"batches": in_memory}),
    *(Contender("torch.func vmap(grad)", vmap_grad, replicas) for replicas in (8, 32)),
    Contender("scikit-learn MLPClassifier", scikit_learn, 1, "own"),
    Contender("scikit-learn MLPClassifier, sparse", scikit_learn, 1, "own", {"sparse": True}),
    *(Contender(JAX, jax_scan, replicas, "own") for replicas in (1, 8, 32)),
    *(Contender(DENSE, floor, replicas) for replicas in (1, 32)),
    Contender(SPARSE, sparse_floor, 1, 1),
    Contender(SPARSE, sparse_floor, 32),
)

# What is divided by what, and the bound that the ratio is to keep.
GOALS: tuple[tuple[str, str, str, Holds, float], ...] = (
    ("32 replicas: faster than JAX", f"{JAX}, R = 32", f"{ENGINE}, R = 32", operator.ge, 9),
    ("32 replicas: faster than the dense floor", f"{DENSE}, R = 32", f"{ENGINE}, R = 32", operator.ge, 1.8),
    ("1 replica, one thread: faster than JAX", f"{JAX}, R = 1", f"{ENGINE}, R = 1, 1 thread", operator.ge, 5),
    ("32 replicas: of the sparse floor", f"{ENGINE}, R = 32", f"{SPARSE}, R = 32", operator.le, 1.25),
    ("32 replicas: batch norm", f"{ENGINE}{NORM}, R = 32", f"{ENGINE}, R = 32", operator.le, 1.33),
    ("32 replicas: true derivative", f"{ENGINE}{EXACT}, R = 32", f"{ENGINE}, R = 32", operator.le, 1.33),
    ("an evaluation of the 100 steps before it", f"{EVALUATION}, R = 32", f"{ENGINE}, R = 32", operator.le, 0.75),
    ("two threads against one", f"{ENGINE}, R = 10, 1 thread", f"{ENGINE}, R = 10, 2 threads", operator.ge, 1.85),
    ("beside a busy process", f"{BUSY}, R = 10, 2 threads", f"{ENGINE}, R = 10, 2 threads", operator.le, 2.2),
)
BOUNDS = {operator.ge: "at least", operator.le: "at most"}


def with_threads(epoch: Epoch, threads: int) -> Epoch:
    def run() -> float:
        torch.set_num_threads(threads)
        return epoch()

    return run


def prepare_all(data: Data, threads: int) -> dict[str, Epoch]:
    """The contenders that can be had, by key."""
    ready = {}
    for one in CONTENDERS:
        try:
            mine = one.threads if isinstance(one.threads, int) else threads
            epoch = one.prepare(data, one.replicas, threads=mine, **one.options)
        except ImportError:
            continue
        ready[one.key] = with_threads(epoch, mine)
    return ready


def main() -> None:
    parser = argparse.ArgumentParser(description="Microseconds per replica and gradient step, here and elsewhere.")
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each, in turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of this engine and of torch (default: %(default)s)")
    arguments = parser.parse_args()

    warn_if_busy()
    torch.set_grad_enabled(False)
    seconds = take_turns(prepare_all(Data.load(), arguments.threads), arguments.rounds)
    rows = [row(one, arguments.threads, seconds.get(one.key)) for one in CONTENDERS]
    goals = [goal(*one, seconds) for one in GOALS]
    about = machine()
    work = {"examples": EXAMPLES, "batch_size": BATCH, "layers_dims": DIMS, "L2": L2, "rounds": arguments.rounds}
    text = report(about, work, rows, goals)
    write_json(FOLDER / "results.json", {"machine": about, "work": work, "rows": rows, "goals": goals})
    write_text(FOLDER / "training.md", text)
    print(text)


def row(one: Contender, threads: int, seconds: list[float] | None) -> dict[str, Any]:
    times = spread([second / STEPS / one.replicas * 1e6 for second in seconds]) if seconds else (None, None, None)
    record: dict[str, Any] = {"name": one.name, "replicas": one.replicas, "threads": one.threads or threads}
    return record | dict(zip(("microseconds", "min", "max"), times, strict=True))


def goal(name: str, above: str, below: str, holds: Holds, bound: float, seconds: dict[str, Any]) -> dict[str, Any]:
    """The median over rounds of the ratio within a round, and whether it keeps the bound; None where one is missing."""
    known = above in seconds and below in seconds
    ratio = spread([a / b for a, b in zip(seconds[above], seconds[below], strict=True)])[0] if known else None
    met = holds(ratio, bound) if ratio is not None else None
    return {"name": name, "ratio": ratio, "bound": f"{BOUNDS[holds]} {bound:g}", "met": met}


def report(about: dict[str, Any], work: dict[str, Any], rows: list[dict[str, Any]], goals: list[dict[str, Any]]) -> str:
    absent = ("not installed", "")
    times = (
        (one["name"], one["replicas"], one["threads"])
        + ((f"{one['microseconds']:.1f}", f"{one['min']:.1f}–{one['max']:.1f}") if one["microseconds"] else absent)
        for one in rows
    )
    verdicts = (
        (one["name"], f"{one['ratio']:.2f} ×" if one["ratio"] else absent[0], one["bound"], IN_WORDS[one["met"]])
        for one in goals
    )
    network = "-".join(map(str, work["layers_dims"]))
    return (
        f"Network {network}, mini-batches of {work['batch_size']} from {work['examples']:,} examples, "
        f"medians of {work['rounds']} rounds in turn.\n{in_words(about)}\n\n"
        + markdown(("µs per replica and step", "replicas", "threads", "median", "min–max"), times)
        + "\n"
        + markdown(("goal", "ratio", "wanted", "met"), verdicts)
    )


IN_WORDS = {True: "yes", False: "**no**", None: "–"}

if __name__ == "__main__":
    main()
