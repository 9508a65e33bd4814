"""The CPU engine: each replica trained by the compiled loops of `nnlib.engine.kernel`, a thread for each.

A replica knows nothing of the others, so its bits are a function of settings, seed and data alone: see docs/engine.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnlib.core.model import Parameters
from nnlib.core.seeds import Seeds, epoch_order
from nnlib.core.settings import Settings
from nnlib.engine.functions import constants
from nnlib.engine.kernel import propagate
from nnlib.engine.layout import Ink, Memory, Network
from nnlib.engine.run import HISTORY, Job, OnEval, Run

WIDEST = 32  # units of the first layer in a block: as many sums as the registers of every x86-64 level hold
CHUNK = 480  # examples of a set that pass at a time, so that their activations stay in the cache
CACHE_LINE = 64  # bytes
AT_ONCE = 10**8  # multiplications in a call, some tenths of a second: Ctrl-C is heard between calls


@dataclass(frozen=True)
class Sets:
    """The training and the validation set as the kernel takes them."""

    train: Ink
    validation: Ink

    @property
    def examples(self) -> int:
        return len(self.train.label)


def on_cache_lines(array: np.ndarray) -> np.ndarray:
    """A flat copy that begins where a cache line does, so that few rows lie across one line more than they need."""
    room = np.empty(array.nbytes + CACHE_LINE, np.uint8)
    copy = room[-room.ctypes.data % CACHE_LINE :][: array.nbytes].view(array.dtype)
    copy[:] = array.flatten()
    return copy


class Replica:
    """One network in the kernel's layout, and the memory for its passes.

    Parameters
    ----------
    parameters : of one network, W1 (1, out, in), b1 (1, out, 1), ...
    settings : of this network alone
    """

    def __init__(self, parameters: Parameters, settings: Settings) -> None:
        self.settings = settings
        self.dims = np.array(settings.layers_dims, np.int64)
        self.dtype = parameters["W1"].numpy().dtype
        self.constants = constants(self.dtype)
        units = self.dims[1]
        self.blocks = -(-units // WIDEST)
        self.width = -(-units // (8 * self.blocks)) * 8
        self.net = self._network({name: value[0].numpy() for name, value in parameters.items()})
        self.memory = self._memory(settings.batch_size)
        self.set_memory: Memory | None = None

    def _network(self, arrays: dict[str, np.ndarray]) -> Network:
        later = range(2, len(self.dims))
        rows = np.zeros((self.blocks * self.width, self.dims[0]), self.dtype)
        rows[: self.dims[1]] = arrays["W1"]
        biases = np.zeros(len(rows), self.dtype)
        biases[: self.dims[1]] = arrays["b1"].ravel()
        return Network(
            dims=self.dims,
            W1=on_cache_lines(rows.reshape(self.blocks, self.width, self.dims[0]).transpose(0, 2, 1)),
            W=np.concatenate([np.empty(0, self.dtype), *(arrays[f"W{layer}"].ravel() for layer in later)]),
            b=np.concatenate([biases, *(arrays[f"b{layer}"].ravel() for layer in later)]),
        )

    def parameters(self) -> Parameters:
        """As they were given, with every NaN the same NaN: processors differ in which they make."""
        net, dims = self.net, self.dims
        blocks = net.W1.reshape(self.blocks, dims[0], self.width)
        rows = blocks.transpose(0, 2, 1).reshape(self.blocks * self.width, dims[0])
        arrays = {"W1": rows[: dims[1]], "b1": net.b[: dims[1]]}
        at, row = 0, len(rows)
        for layer, (n_in, n) in enumerate(itertools.pairwise(dims[1:]), start=2):
            arrays |= {f"W{layer}": net.W[at : at + n * n_in].reshape(n, n_in), f"b{layer}": net.b[row : row + n]}
            at, row = at + n * n_in, row + n
        return {
            name: torch.from_numpy(np.where(np.isnan(value), self.dtype.type(np.nan), value)).view(
                1, -1, 1 if name[0] == "b" else value.shape[1]
            )
            for name, value in arrays.items()
        }

    def _memory(self, batch: int) -> Memory:
        columns, rows = -(-batch // 16) * 16, len(self.net.b)
        Z, A, dZ = np.zeros((3, rows * columns), self.dtype)
        return Memory(
            batch=batch,
            columns=columns,
            present=np.zeros(columns, self.dtype),
            Z=Z,
            A=Z if self.settings.batchnorm == "none" else A,
            dZ=dZ,
            deviation=np.zeros(rows, self.dtype),
            sums=np.zeros(columns * self.width, self.dtype),
        )

    def learn(self, ink: Ink, order: np.ndarray, begin: int, end: int) -> tuple[float, float]:
        """Gradient steps on examples begin to end of the order: the last batch's cost and Σ W², both from before it."""
        last = (end - begin - 1) % self.settings.batch_size + 1
        return self._propagate(ink, order, begin, end, self.memory, last, learn=True)

    def cost(self, ink: Ink) -> float:
        """`nnlib.core.training.evaluate_cost` over a set."""
        return self._over_set(ink)[0]

    def accuracy(self, ink: Ink) -> float:
        """`nnlib.core.model.predict` over a set."""
        return self._over_set(ink, count=True)[0] / len(ink.label)

    def _over_set(self, ink: Ink, count: bool = False) -> tuple[float, float]:
        examples = len(ink.label)
        batch = min(CHUNK, examples) if self.settings.batchnorm == "none" else examples
        if not self.set_memory or self.set_memory.batch != batch:
            self.set_memory = self._memory(batch)
        return self._propagate(ink, np.arange(examples), 0, examples, self.set_memory, examples, count=count)

    def _propagate(
        self,
        ink: Ink,
        order: np.ndarray,
        begin: int,
        end: int,
        memory: Memory,
        m: int,
        *,
        learn: bool = False,
        count: bool = False,
    ) -> tuple[float, float]:
        """The kernel's pass; its cost as that of m examples, with the L2 term."""
        settings, number = self.settings, self.dtype.type
        use_batchnorm, strength = settings.batchnorm != "none", settings.L2
        exact = settings.batchnorm == "exact"
        rates = number(settings.learning_rate), number(strength), self.constants, ((),) * self.width
        result, squares = propagate(
            self.net, ink, order, begin, end, memory, use_batchnorm, exact, learn, count, *rates
        )
        decay = strength / (2 * m) * squares if strength else 0.0  # Σ W² may be infinite
        return (result if count else result / m + decay), squares


def train_one(
    data: Sets,
    settings: Settings,
    seed: int | Seeds,
    start: Run,
    stopped: Event,
    on_eval: Callable[[int, float], object],
) -> Run:
    """Train one replica from `start`, a run of it alone, to `settings.epochs`; `on_eval` hears of every evaluation."""
    run, examples, last_step = start.resumable(settings), data.examples, settings.last_step(data.examples)
    replica = Replica(run.last_parameters or run.parameters, settings)
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
        begin, end = done * settings.batch_size, min(examples, (until - epoch * an_epoch) * settings.batch_size)
        train_cost, squares = replica.learn(data.train, order, begin, end)
        run.step = until
        if until == evaluated:
            cost, accuracy = replica.cost(data.validation), replica.accuracy(data.validation)
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
    run.finish(settings, last_step)
    return run


def train_each(data: Sets, jobs: Mapping[Any, Job], *, threads: int, on_eval: OnEval) -> Iterator[tuple[Any, Run]]:
    """Train every job, `threads` at a time, those with the most epochs to go first; yields (key, its run) as it ends,
    and as it passes the other epochs that are asked for.

    An interrupt ends the threads at their next call of the kernel.
    """
    stopped, evaluations, runs = Event(), SimpleQueue[tuple[Any, int, float]](), SimpleQueue[tuple[Any, Run]]()

    def task(key: Any) -> None:
        settings, seed, run, epochs = jobs[key]
        for each in epochs:
            asked = settings.replace(epochs=each)
            run = train_one(data, asked, seed, run, stopped, lambda *seen: evaluations.put((key, *seen)))
            runs.put((key, run))

    pool = ThreadPoolExecutor(threads)
    try:
        most_first = sorted(jobs, key=lambda key: jobs[key].start.epoch - jobs[key].settings.epochs)
        pending: set[Future[None]] = {pool.submit(task, key) for key in most_first}
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


def accuracies(ink: Ink, parameters: Parameters, settings: Settings, threads: int) -> list[float]:
    """`nnlib.core.model.predict` of each network over a set."""

    def one(k: int) -> float:
        return Replica({name: value[[k]] for name, value in parameters.items()}, settings).accuracy(ink)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(parameters["W1"]))))
