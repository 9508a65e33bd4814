"""`train_replicas`: `l_layer_model` for many seeds, by the engine of the device, and never twice with a store."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import psutil
import torch
from pydantic import InstanceOf

from nnlib.arrays import ArrayLike
from nnlib.core.optimizers import OPTIMIZERS
from nnlib.core.seeds import Seeds
from nnlib.core.settings import LayersDims, Settings
from nnlib.core.training import check_batches
from nnlib.engine.run import Job, Run
from nnlib.errors import InputError
from nnlib.records import Count, checked, what
from nnlib.replicas.cluster import Cluster, train_on_cluster
from nnlib.replicas.prepared import PreparedSet
from nnlib.replicas.store import Shelf, Store
from nnlib.validation import naming


class TrainingData:
    """A training and a validation set, prepared once for all configurations.

    Parameters
    ----------
    train, validation : (X, Y), features × examples and one-hot classes × examples; float32 or float64
    layers_dims : of networks that are trained on them; only the first and the last layer matter

    Raises
    ------
    InputError
        If a set does not fit such networks; the message names the argument.
    """

    def __init__(
        self, train: tuple[ArrayLike, ArrayLike], validation: tuple[ArrayLike, ArrayLike], layers_dims: Sequence[int]
    ) -> None:
        layers_dims = checked("layers_dims", layers_dims, LayersDims)
        self.ends = (layers_dims[0], layers_dims[-1])
        with naming("train"):
            self.train = PreparedSet(train, layers_dims)
        with naming("validation"):
            self.validation = PreparedSet(validation, layers_dims, like=self.train)


class Evaluation(NamedTuple):
    """One evaluation of one replica, for a progress bar; also the last of one that the store has.

    Attributes
    ----------
    configuration : its key; where several differ in their epochs alone, that of the longest
    replica : its index in `seeds`
    step, validation_cost : of the evaluation; NaN where there was none
    done, total : gradient steps of all replicas of all configurations
    """

    configuration: Hashable
    replica: int
    step: int
    validation_cost: float
    done: int
    total: int


Progress = Callable[[Evaluation], object]


def train_replicas(
    train: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike],
    settings: Settings,
    seeds: Sequence[int | Seeds],
    *,
    device: Any = "cpu",
    threads: int | None = None,
    cluster: str | Cluster | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train one network for each seed to `settings.epochs`.

    On the CPU a replica's bits are a function of its settings, its seed and the data, whatever is trained beside it. A
    replica that early stopping ends, or whose cost is no longer finite, is trained no further.

    Parameters
    ----------
    train, validation : (X, Y), features × examples and one-hot classes × examples; float32 or float64. The time of a
        step grows with how many features are not 0.
    settings : the configuration
    seeds : one for each replica, a number or `Seeds`
    device : where to compute, "cpu" or "cuda"
    threads : on the CPU, replicas trained at the same time; None for as many as there are cores
    cluster : address of a Dask scheduler whose workers train instead, to the same bits, or a `Cluster`; on the CPU only
    store : asked for each replica before it is trained, and given each as soon as it is
    progress : called with an `Evaluation` at each

    Returns
    -------
    A `Run`, its tensors on the CPU.

    Raises
    ------
    InputError
        If an argument does not fit; the message names it.
    MemoryError
        If the replicas do not fit in the device's memory; raised before training starts.
    OSError
        If the cluster does not answer, or goes away; what was finished is in the store.
    """
    settings = checked("settings", settings, InstanceOf[Settings])
    data = TrainingData(train, validation, settings.layers_dims)
    runs = train_configurations(
        data,
        {None: settings},
        seeds,
        device=device,
        threads=threads,
        cluster=cluster,
        store=store,
        progress=progress,
    )
    return dict(runs)[None]


def train_configurations(
    data: TrainingData,
    configurations: Mapping[Any, Settings],
    seeds: Sequence[int | Seeds],
    *,
    device: Any = "cpu",
    threads: int | None = None,
    cluster: str | Cluster | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Any, Run]]:
    """`train_replicas` for several configurations at once, so that no thread waits for the last replica of one.

    Those that differ in their epochs alone are trained once, to the most epochs.

    Parameters
    ----------
    data : the training and the validation set, for networks with the first and the last layer of all configurations
    configurations : key → settings
    seeds, device, threads, cluster, store, progress : as in `train_replicas`, the same for all configurations

    Returns
    -------
    An iterator of (key of the configuration, its `Run`), each as soon as all its replicas are trained

    Raises
    ------
    InputError
        If an argument does not fit; the message names it.
    MemoryError
        If the replicas do not fit in the device's memory; raised before training starts.
    OSError
        If the cluster does not answer, or goes away, while runs are asked for.
    """
    data = checked("data", data, InstanceOf[TrainingData])
    configurations = checked("configurations", configurations, dict[Any, InstanceOf[Settings]])
    device = known_device("device", device)
    threads = checked("threads", threads, Count | None) or cores()
    store = checked("store", store, InstanceOf[Store] | None)
    progress = checked("progress", progress, Callable[..., Any] | None)
    where = checked(
        "cluster", Cluster(address=cluster) if isinstance(cluster, str) else cluster, InstanceOf[Cluster] | None
    )
    for settings in configurations.values():
        if (settings.layers_dims[0], settings.layers_dims[-1]) != data.ends:
            raise InputError(f"layers_dims: expected {data.ends} at the ends, got {settings.layers_dims}")
        check_batches(settings, data.train.examples)
    if not configurations:
        raise InputError("configurations: expected one or more, got none")
    one_axis = hasattr(seeds, "__len__") and getattr(seeds, "ndim", 1) == 1
    if not one_axis or isinstance(seeds, str | bytes | Mapping | Set | Seeds) or not len(seeds):
        raise InputError(f"seeds: expected a list of one seed or more, got {what(seeds)}")
    check_memory(list(configurations.values()), len(seeds), data, device, threads)
    with naming("seeds"):
        all_seeds = [Seeds.of(seed) for seed in seeds]
    return _train(data, configurations, all_seeds, device, where or threads, store, progress)


def _train(
    data: TrainingData,
    configurations: Mapping[Any, Settings],
    seeds: Sequence[Seeds],
    device: torch.device,
    where: Cluster | int,
    store: Store | None,
    progress: Progress | None,
) -> Iterator[tuple[Any, Run]]:
    data.train.check_unchanged()
    data.validation.check_unchanged()
    # Those that differ in their epochs alone together: settings without epochs → epochs → keys.
    groups: dict[Settings, dict[int, list[Any]]] = defaultdict(dict)
    for key, settings in configurations.items():
        groups[settings.replace(epochs=0)].setdefault(settings.epochs, []).append(key)
    shelf = store.shelf((data.train.digest, data.validation.digest), device) if store else None
    runs, jobs = _plan({group: sorted(epochs) for group, epochs in groups.items()}, seeds, shelf, data)
    starts = {
        (group, k): jobs[group, k].start if (group, k) in jobs else runs[group, max(keys)][k]
        for group, keys in groups.items()
        for k in range(len(seeds))
    }
    ends = {which: run.step for which, run in starts.items()}
    ends |= {which: job.settings.last_step(data.train.examples) for which, job in jobs.items()}
    steps = _Steps({group: keys[max(keys)][0] for group, keys in groups.items()}, starts, ends, progress)

    def finished(group: Settings, epochs: int) -> Iterator[tuple[Any, Run]]:
        if len(runs[group, epochs]) == len(seeds):
            together = runs.pop((group, epochs))
            run = Run.join([together[k] for k in range(len(seeds))])
            yield from ((key, run) for key in groups[group][epochs])

    for which in list(runs):
        yield from finished(*which)
    for (group, k), run in _trained(data, jobs, device, where, steps.on_eval):
        steps.reach((group, k), run.step)
        if shelf:
            shelf.keep(group.replace(epochs=run.epoch), seeds[k], run)
        runs[group, run.epoch][k] = run
        yield from finished(group, run.epoch)


Which = tuple[Settings, int]
Runs = dict[Which, dict[int, Run]]


def _plan(
    groups: Mapping[Settings, Sequence[int]], seeds: Sequence[Seeds], shelf: Shelf | None, data: TrainingData
) -> tuple[Runs, dict[Which, Job]]:
    """What the store has, and what is left to train: (group, epochs) → replica → run, (group, replica) → job."""
    runs: Runs = {(group, each): {} for group, epochs in groups.items() for each in epochs}
    jobs = {}
    for group, epochs in groups.items():
        begun = Run.begin(group, seeds, data.train.X.dtype)
        for k, seed in enumerate(seeds):
            start = begun.one(k)
            missing: list[int] = []
            for each in epochs:
                known = shelf.longest(group.replace(epochs=each), seed) if shelf else None
                if not missing:
                    start = known or start
                if start.epoch == each or (known and known.epoch == each):
                    runs[group, each][k] = known or start
                else:
                    missing.append(each)
            if missing:
                jobs[group, k] = Job(group.replace(epochs=missing[-1]), seed, start, tuple(missing))
    return runs, jobs


class _Steps:
    """How many gradient steps of each replica are done, and who is told."""

    def __init__(
        self,
        keys: Mapping[Settings, Any],
        starts: Mapping[Which, Run],
        ends: Mapping[Which, int],
        progress: Progress | None,
    ) -> None:
        self.keys, self.progress = keys, progress
        self.each = {which: run.step for which, run in starts.items()}
        self.done, self.total = sum(self.each.values()), sum(ends.values())
        for which, run in starts.items():
            if run.step == ends[which]:
                self.on_eval(which, run.step, run.validation_cost[-1].item() if len(run.steps) else torch.nan)

    def reach(self, which: Which, step: int) -> None:
        self.done += step - self.each[which]
        self.each[which] = step

    def on_eval(self, which: Which, step: int, cost: float) -> None:
        """What engines call with a job, a step and a cost."""
        self.reach(which, step)
        if self.progress:
            group, k = which
            self.progress(Evaluation(self.keys[group], k, step, cost, self.done, self.total))


def _trained(
    data: TrainingData,
    jobs: Mapping[Which, Job],
    device: torch.device,
    where: Cluster | int,
    on_eval: Callable[[Which, int, float], object],
) -> Iterator[tuple[Which, Run]]:
    """Every job done, by a cluster, by so many threads here, or all together on a GPU."""
    if not jobs:
        return
    if device.type != "cpu":
        yield from _on_device(data, jobs, device, on_eval)
        return
    # Numba takes a quarter of a second to import; if all is in the store, nobody waits for it.
    from nnlib.engine.compiled import Sets, train_each

    sets = Sets(data.train.csr, data.validation.csr)
    if isinstance(where, Cluster):
        yield from train_on_cluster(sets, jobs, where, on_eval)
    else:
        yield from train_each(sets, jobs, threads=where, on_eval=on_eval)


def _on_device(
    data: TrainingData, jobs: Mapping[Which, Job], device: torch.device, on_eval: Callable[[Which, int, float], object]
) -> Iterator[tuple[Which, Run]]:
    """Replicas of one configuration that go on from the same epoch side by side, one configuration after another."""
    from nnlib.engine.batched import train_batched

    together: dict[tuple[Settings, tuple[int, ...], int], list[Which]] = defaultdict(list)
    for which, job in jobs.items():
        together[which[0], job.epochs, job.start.epoch].append(which)
    for (group, epochs, _), several in together.items():
        run = Run.join([jobs[which].start for which in several])
        seeds = [jobs[which].seed for which in several]

        def evaluated(replica: int, step: int, cost: float, several: list[Which] = several) -> None:
            on_eval(several[replica], step, cost)

        for each in epochs:
            settings = group.replace(epochs=each)
            run = train_batched(
                (data.train.X, data.train.Y),
                (data.validation.X, data.validation.Y),
                settings,
                seeds,
                run,
                device,
                evaluated,
            )
            yield from ((which, run.one(place)) for place, which in enumerate(several))


def known_device(name: str, value: Any) -> torch.device:
    """The CPU, or a GPU if there is one."""
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"{name}: expected 'cpu' or 'cuda', got {what(value)}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{name}: expected 'cpu', since there is no GPU that PyTorch can use, got {what(value)}")
    return device


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_memory(
    configurations: Sequence[Settings], replicas: int, data: TrainingData, device: torch.device, threads: int
) -> None:
    """Raise a MemoryError if the networks and the passes that run at the same time do not fit."""
    on_cpu = device.type == "cpu"
    examples, bytes_each = data.validation.examples, data.train.X.element_size()
    pairs = [pair for settings in configurations for pair in itertools.pairwise(settings.layers_dims)]
    # Of the last step, of the best evaluation, and what the optimizer keeps.
    copies = 2 + max(OPTIMIZERS[settings.optimizer].arrays for settings in configurations)
    weights = copies * replicas * sum(fan_out * (fan_in + 1) for fan_in, fan_out in pairs)

    def of_a_pass(settings: Settings) -> int:
        """Z and A of each unit, on a GPU the caches too; of a whole set where all its examples are needed at once."""
        whole_set = settings.batchnorm != "none" or not on_cpu
        return (2 if on_cpu else 3) * (examples if whole_set else 512) * sum(settings.layers_dims[1:])

    passes = (min(threads, replicas) if on_cpu else replicas) * max(map(of_a_pass, configurations))
    needed = (weights + passes) * bytes_each
    free = psutil.virtual_memory().available if on_cpu else torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise MemoryError(
            f"replicas: {replicas} need about {needed / 2**30:.1f} GiB of memory on {device}, "
            f"{free / 2**30:.1f} GiB are free; about {max(1, int(replicas * free / needed))} would fit"
        )
