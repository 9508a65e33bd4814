"""The CPU engine: replicas trained by the compiled loops of `nnlib.engine.kernel`, in threads.

A replica knows nothing of the others, so its bits are a function of settings, seed and data alone: see docs/engine.md.
A thread trains two of them in turn while there are enough, since two networks side by side pass over a set in less time
than one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnlib.core.model import Parameters
from nnlib.core.optimizers import OPTIMIZERS, Rates
from nnlib.core.seeds import Seeds, epoch_order
from nnlib.core.settings import Settings
from nnlib.engine.activations import ACTIVATIONS
from nnlib.engine.arithmetic import ieee_754
from nnlib.engine.kernel import evaluate, gradient_steps, squared_weights
from nnlib.engine.layout import CSR, Dense, Hyperparameters, Normalization, SideBySide, Workspace, workspace
from nnlib.engine.run import FUSED, HISTORY, Job, OnEval, Run
from nnlib.engine.simd import chosen

ABREAST = 48  # units of the first layers of networks that pass over a set side by side, at most
PART = 480  # examples of a set that pass at a time, so that their activations stay in the cache
AT_ONCE = 10**8  # multiplications in a call if no feature were 0, some milliseconds: Ctrl-C is heard between calls


@dataclass(frozen=True)
class Sets:
    """The training and the validation set as the kernel takes them."""

    train: CSR
    validation: CSR

    @property
    def examples(self) -> int:
        return len(self.train.labels)


class Evaluation(NamedTuple):
    """Cost and accuracy of one network over a set."""

    cost: float
    accuracy: float  # NaN where an output is not finite


class Replica:
    """One network in the kernel's layout, and the room for its gradient steps.

    Parameters
    ----------
    parameters : of one network, W1 (1, out, in), b1 (1, out, 1), ...
    settings : its configuration
    state : what the optimizer has kept, W1 (1, arrays, out, in), ...; 0 if it is left out
    """

    def __init__(self, parameters: Parameters, settings: Settings, state: Parameters | None = None) -> None:
        self.settings, self.dtype = settings, parameters["W1"].numpy().dtype
        self.hyper = hyperparameters(settings, self.dtype)
        networks = SideBySide(settings.layers_dims, 1, self.dtype)
        self.net, (self.arrays,) = networks.net, networks.arrays
        for name, view in self.arrays.items():
            view[:] = parameters[name].numpy().reshape(view.shape)
        self.work = workspace(self.net, settings.batch_size, self.hyper.batchnorm)
        self.dense, self.kept = self._dense(state or {})

    def _dense(self, state: Parameters) -> tuple[Dense | None, list[dict[str, np.ndarray]]]:
        """The gradient and the optimizer's state, and this state's arrays by name; nothing if it is fused."""
        name = self.settings.optimizer
        if name == FUSED:
            return None, []
        count = 1 + OPTIMIZERS[name].arrays
        gradient, *kept = (SideBySide(self.settings.layers_dims, 1, self.dtype) for _ in range(count))
        for k, one in enumerate(kept):
            for entry, value in state.items():
                view = one.arrays[0][entry]
                view[:] = value[0, k].numpy().reshape(view.shape)
        W1, W, b = (tuple(getattr(one.net, which) for one in kept) for which in ("W1", "W", "b"))
        rates = Rates(*map(self.dtype.type, self.settings.rates()))
        return Dense(chosen(OPTIMIZERS, name), rates, gradient.net, W1, W, b), [one.arrays[0] for one in kept]

    def parameters(self) -> Parameters:
        """In the form in which they were given."""
        return {name: self._tensor(view)[None] for name, view in self.arrays.items()}

    def state(self) -> Parameters:
        """The optimizer's, in the form in which it was given."""
        names = self.arrays if self.kept else ()
        return {name: torch.stack([self._tensor(arrays[name]) for arrays in self.kept])[None] for name in names}

    def _tensor(self, view: np.ndarray) -> Tensor:
        """A copy; every NaN has the same bits, since processors make different ones."""
        copy = np.where(np.isnan(view), self.dtype.type(np.nan), view)
        return torch.from_numpy(copy).view(len(view), -1)

    def learn(self, csr: CSR, order: np.ndarray) -> tuple[float, float]:
        """Gradient steps on the batches of an order: the last one's cost and Σ W², both from before its step."""
        cost, squares = gradient_steps(self.net, csr, order, self.work, self.hyper, self.dense)
        m = (len(order) - 1) % self.settings.batch_size + 1
        return cost / m + self.settings.L2 / (2 * m) * squares, squares


def hyperparameters(settings: Settings, dtype: np.dtype[Any]) -> Hyperparameters:
    number, normalization = dtype.type, settings.normalization
    return Hyperparameters(
        learning_rate=number(settings.learning_rate),
        L2=number(settings.L2),
        activation=chosen(ACTIVATIONS, settings.activation),
        batchnorm=settings.batchnorm != "none",
        normalization=Normalization(
            epsilon=number(normalization.epsilon),
            in_variance=normalization.epsilon_added_to == "variance",
            unbiased=normalization.variance == "unbiased",
            over_matrix=normalization.over == "matrix",
            exact=settings.batchnorm == "exact",
        ),
    )


class Evaluator:
    """What a thread needs to pass networks over sets, kept from one pass to the next."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[SideBySide, Workspace]] = {}

    def __call__(self, csr: CSR, replicas: Sequence[Replica]) -> list[Evaluation]:
        """`nnlib.core.training.evaluate_cost` and `nnlib.core.model.predict` of each network over a set."""
        if len(replicas) != 1 and not abreast(replicas):
            return [self(csr, [replica])[0] for replica in replicas]
        (one, *_), m = replicas, len(csr.labels)
        batch = m if one.hyper.batchnorm else min(PART, m)
        key = len(replicas), batch, one.settings.layers_dims, one.dtype, one.hyper.batchnorm
        if key not in self._kept:
            networks = SideBySide(one.settings.layers_dims, len(replicas), one.dtype)
            self._kept[key] = networks, workspace(networks.net, batch, one.hyper.batchnorm)
        networks, work = self._kept[key]
        for replica, arrays in zip(replicas, networks.arrays, strict=True):
            for name, view in arrays.items():
                view[:] = replica.arrays[name]
        sums = np.zeros((len(replicas), 2))
        evaluate(networks.net, csr, np.arange(m), work, one.hyper, sums)
        return [
            Evaluation(cost / m + replica.settings.L2 / (2 * m) * squared_weights(replica.net), right / m)
            for replica, (cost, right) in zip(replicas, sums.tolist(), strict=True)
        ]


def abreast(replicas: Sequence[Replica]) -> bool:
    """Whether they pass over a set side by side: two of the same layers and operations, not too wide."""
    alike = {(one.settings.layers_dims, one.dtype, one.hyper[2:]) for one in replicas}
    return len(replicas) == 2 and len(alike) == 1 and sum(one.net.units for one in replicas) <= ABREAST


# Training on its way from one evaluation to the next.
Task = Generator[Replica, Evaluation, None]


def training(
    sets: Sets,
    settings: Settings,
    seed: int | Seeds,
    start: Run,
    stopped: Event,
    on_eval: Callable[[int, float], object],
) -> Generator[Replica, Evaluation, Run]:
    """Train one replica from `start` to `settings.epochs`: yields it for each evaluation, returns the run of it alone.

    `on_eval` hears of every evaluation, the step and the validation cost.
    """
    run, examples, last_step = start.resumable(settings), sets.examples, settings.last_step(sets.examples)
    replica = Replica(run.last_parameters or run.parameters, settings, run.optimizer_state)
    an_epoch = -(-examples // settings.batch_size)
    at_once = max(1, AT_ONCE // (settings.batch_size * len(replica.net.W1)))
    eval_every = settings.stopping.eval_every
    evaluations: list[tuple[int, dict[str, Tensor]]] = []
    order: Any = None
    ordered: int | None = None
    while run.step < last_step and bool(run.running):
        if stopped.is_set():
            raise InterruptedError
        epoch, done = divmod(run.step, an_epoch)
        if epoch != ordered:
            order, ordered = epoch_order(Seeds.of(seed).shuffle, epoch + 1, examples, settings.shuffle), epoch
        evaluated = min(last_step, (run.step // eval_every + 1) * eval_every)
        until = min(evaluated, (epoch + 1) * an_epoch, run.step + at_once)
        batches = order[done * settings.batch_size : (until - epoch * an_epoch) * settings.batch_size]
        train_cost, squares = replica.learn(sets.train, batches)
        run.step = until
        if until == evaluated:
            cost, accuracy = yield replica
            values = zip(HISTORY, (train_cost, cost, squares, accuracy), strict=True)
            evaluation = {
                name: torch.tensor([value], dtype=run.reference.dtype, device="cpu") for name, value in values
            }
            _, best = run.evaluate(evaluation, settings)
            if run.last_parameters and best:
                run.parameters = replica.parameters()
            evaluations.append((until, evaluation))
            on_eval(until, cost)
    run.log(evaluations)
    if run.last_parameters:
        run.last_parameters = replica.parameters()
    else:
        run.parameters = replica.parameters()
    run.optimizer_state = replica.state()
    run.finish(settings, last_step)
    return run


def train_each(sets: Sets, jobs: Mapping[Any, Job], *, threads: int, on_eval: OnEval) -> Iterator[tuple[Any, Run]]:
    """Train every job, those with the most to do first; yields (key, its run) as it ends, and as it passes the other
    epochs that are asked for.

    An interrupt ends the threads at their next call of the kernel.
    """

    def work_left(key: Any) -> float:
        settings, _, start, _ = jobs[key]
        a_step = settings.batch_size + len(sets.validation.labels) / settings.stopping.eval_every
        return (settings.last_step(sets.examples) - start.step) * a_step

    stopped, evaluations, runs = Event(), SimpleQueue[tuple[Any, int, float]](), SimpleQueue[tuple[Any, Run]]()
    waiting = deque(sorted(jobs, key=work_left, reverse=True))

    def train(key: Any) -> Task:
        settings, seed, run, epochs = jobs[key]
        for each in epochs:
            asked = settings.replace(epochs=each)
            run = yield from training(sets, asked, seed, run, stopped, lambda *seen: evaluations.put((key, *seen)))
            runs.put((key, run))

    def take() -> list[Task]:
        try:
            return [train(waiting.popleft())]
        except IndexError:
            return []

    def thread() -> None:
        """Train two jobs in turn, each to its next evaluation; only one if other threads would run out of jobs."""
        evaluator = Evaluator()
        tasks: list[tuple[Task, Any]] = []  # each with the evaluation that it waits for
        with ieee_754():
            while True:
                while len(tasks) < 2 and (not tasks or len(waiting) >= threads) and (new := take()):
                    tasks += [(task, None) for task in new]
                due = []
                for task, evaluation in tasks:
                    with suppress(StopIteration):
                        due.append((task, task.send(evaluation)))
                found = evaluator(sets.validation, [replica for _, replica in due])
                tasks = [(task, evaluation) for (task, _), evaluation in zip(due, found, strict=True)]
                if not tasks and not waiting:
                    return

    pool = ThreadPoolExecutor(threads)
    try:
        pending = {pool.submit(thread) for _ in range(min(threads, len(jobs)))}
        while pending or not runs.empty():
            done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            while not evaluations.empty():
                on_eval(*evaluations.get())
            while not runs.empty():
                yield runs.get()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def accuracies(csr: CSR, parameters: Parameters, settings: Settings, threads: int) -> list[float]:
    """`nnlib.core.model.predict` of each network over a set."""
    return [evaluation.accuracy for (evaluation,) in evaluate_each([csr], parameters, settings, threads)]


def evaluate_each(
    sets: Sequence[CSR], parameters: Parameters, settings: Settings, threads: int
) -> list[list[Evaluation]]:
    """For each network its evaluation over each set."""

    def some(which: Sequence[int]) -> list[list[Evaluation]]:
        evaluator = Evaluator()
        replicas = [Replica({name: value[[k]] for name, value in parameters.items()}, settings) for k in which]
        with ieee_754():
            by_set = [evaluator(csr, replicas) for csr in sets]
        return [list(evaluations) for evaluations in zip(*by_set, strict=True)]

    R = len(parameters["W1"])
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(some, (range(k, min(k + 2, R)) for k in range(0, R, 2)))
        return [evaluations for pair in found for evaluations in pair]
