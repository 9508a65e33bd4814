"""`train_replicas`: `l_layer_model` for many seeds, by the engine of the device, and never twice with a store."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psutil
import torch
from torch import Tensor

from nnlib.arguments import a, function, naming, optional, pair, seeds, takes, what, whole
from nnlib.core.model import Parameters
from nnlib.core.training import check_set, check_training_set
from nnlib.engine.run import Progress, Run, Settings, check_settings
from nnlib.errors import InputError
from nnlib.replicas.store import Store
from nnlib.shapes import labelled_network

Examples = tuple[Tensor, Tensor]


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


@takes(
    train=pair,
    validation=pair,
    settings=a(Settings),
    seeds=seeds,
    start=optional(a(Run)),
    device=known_device,
    threads=optional(whole(1)),
    cluster=optional(a(str)),
    store=optional(a(Store)),
    progress=optional(function),
)
def train_replicas(
    train: Examples,
    validation: Examples,
    settings: Settings,
    seeds: Sequence[int],
    *,
    start: Run | None = None,
    device: Any = "cpu",
    threads: int | None = None,
    cluster: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train one network for each seed to `settings.epochs`.

    On the CPU a replica's bits are a function of its settings, its seed and the data, whatever is trained beside it. A
    replica that the stopping rule ends, or whose cost is no longer finite, keeps the parameters of that look and costs
    nothing more.

    Parameters
    ----------
    train, validation : (X, Y), features × examples and one-hot classes × examples; float32 or float64. The time of a
        step grows with how many features are not 0.
    settings : the configuration
    seeds : one for each replica
    start : a run of the same settings and seeds with fewer epochs, to go on from, bit for bit as if never interrupted
    device : where to compute
    threads : on the CPU, replicas trained at the same time; None for as many as there are cores
    cluster : address of a Dask scheduler whose workers train instead, to the same bits; on the CPU only
    store : asked for each replica before it is trained, and given each as soon as it is
    progress : called at every look at a replica with (which, step, validation cost)

    Returns
    -------
    A `Run`, its tensors on the CPU.

    Raises
    ------
    ValueError
        If an argument does not fit, with its name.
    MemoryError
        If the replicas do not fit in the device's memory; raised before training starts.
    OSError
        If the cluster does not answer, or goes away; what was finished is in the store.
    """
    check_settings(settings, seeds, start)
    L2 = torch.as_tensor(settings.L2)
    if L2.ndim > 1:
        raise InputError(f"L2: expected one number, or one axis of {len(seeds)}, got {what(L2)}")
    if L2.ndim == 1 and len(L2) == 1:
        settings = replace(settings, L2=L2.item())
    train = X, _ = check_training_set(*train, settings.layers_dims, settings.batch_size)
    with naming("validation"):
        X_seen, Y_seen = check_set(*validation, settings.layers_dims)
    validation = X_seen.to(X), Y_seen.to(X)
    threads = threads or cores()
    check_memory(settings, len(seeds), X_seen.shape[1], X.element_size(), device, threads)

    if start:
        check_start(start, settings, X)

    first = start or Run.begin(settings, seeds, X.dtype)
    runs: dict[int, Run] = {}
    starts: dict[int, Run] = {}
    shelf = store.shelf(train, validation, device) if store else None
    for k, seed in enumerate(seeds):
        known = shelf.longest(settings.of(k), seed) if shelf else None
        begun = known if known and known.epoch > first.epoch else first.one(k)
        if (known or start) and begun.epoch == settings.epochs:
            runs[k] = begun
            if progress:
                progress(k, begun.step, begun.validation_cost[-1].item() if len(begun.steps) else torch.nan)
        else:
            starts[k] = begun
    if device.type == "cpu":
        trained = _on_cpu(train, validation, settings, seeds, starts, cluster or threads, progress)
    else:
        trained = _on_device(train, validation, settings, seeds, starts, device, progress)
    for k, run in trained:
        runs[k] = run
        if shelf:
            shelf.keep(settings.of(k), seeds[k], run)
    return Run.join([runs[k] for k in range(len(seeds))])


def _on_cpu(
    train: Examples,
    validation: Examples,
    settings: Settings,
    seeds: Sequence[int],
    starts: dict[int, Run],
    where: int | str,
    progress: Progress | None,
) -> Iterator[tuple[int, Run]]:
    """By so many threads here, or by the cluster of that address."""
    if not starts:
        return
    # Numba takes a quarter of a second to import, which a stage that finds all in the store need not wait for.
    from nnlib.engine.compiled import Sets, train_each
    from nnlib.engine.layout import to_ink

    sets = Sets(to_ink(*train), to_ink(*validation))
    if isinstance(where, str):
        from nnlib.replicas.cluster import train_on_cluster

        yield from train_on_cluster(sets, settings, seeds, starts, where, progress)
    else:
        yield from train_each(sets, settings, seeds, starts, threads=where, progress=progress)


def _on_device(
    train: Examples,
    validation: Examples,
    settings: Settings,
    seeds: Sequence[int],
    starts: dict[int, Run],
    where: torch.device,
    progress: Progress | None,
) -> Iterator[tuple[int, Run]]:
    """All together on a GPU; those that go on from the same epoch, that is."""
    from nnlib.engine.batched import train_batched

    for _, group in itertools.groupby(sorted(starts, key=lambda k: starts[k].epoch), key=lambda k: starts[k].epoch):
        which = list(group)
        L2 = torch.as_tensor(settings.L2)
        some = replace(settings, L2=L2[which] if L2.ndim else settings.L2)

        def tell(replica: int, step: int, cost: float, which: list[int] = which) -> None:
            if progress:
                progress(which[replica], step, cost)

        begun = Run.join([starts[k] for k in which])
        run = train_batched(train, validation, some, [seeds[k] for k in which], begun, where, tell)
        yield from ((k, run.one(place)) for place, k in enumerate(which))


def check_start(start: Run, settings: Settings, X: Tensor) -> None:
    """Raise a ValueError if training with these settings on these examples does not come by such a run."""
    first = Run.begin(settings, range(start.replicas), X.dtype)
    expected, got = ({name: what(value) for name, value in run.parameters.items()} for run in (first, start))
    for name in expected | got:
        if expected.get(name) != got.get(name):
            raise InputError(
                f"start: expected {name} {expected.get(name, 'not there')}, got {got.get(name, 'none')}; go on with "
                "the same network and the same type of numbers"
            )
    step = replace(settings, epochs=start.epoch).last_step(X.shape[1])
    if start.running.any() and start.step != step:
        raise InputError(
            f"start: expected a run of {step} steps after {start.epoch} epochs, got {start.step}; go on with as many "
            "examples and the same batch_size"
        )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_memory(
    settings: Settings, replicas: int, examples: int, bytes_each: int, device: torch.device, threads: int
) -> None:
    """Raise a MemoryError if the networks, their logs and the passes that run at the same time do not fit."""
    dims = settings.layers_dims
    weights = sum(fan_out * (fan_in + 1) for fan_in, fan_out in itertools.pairwise(dims))
    on_cpu = device.type == "cpu"
    # A pass over a set holds Z and A of each unit, on a GPU the caches too, with all replicas at the same time.
    a_pass = (2 if on_cpu else 3) * (examples if settings.use_batchnorm or not on_cpu else 512) * sum(dims[1:])
    needed = (replicas * 2 * weights + (min(threads, replicas) if on_cpu else replicas) * a_pass) * bytes_each
    free = psutil.virtual_memory().available if on_cpu else torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise MemoryError(
            f"replicas: {replicas} need about {needed / 2**30:.1f} GiB of memory on {device}, "
            f"{free / 2**30:.1f} GiB are free; about {max(1, int(replicas * free / needed))} would fit"
        )


def accuracy(X: Tensor, Y: Tensor, parameters: Parameters, *, use_batchnorm: bool = False) -> Tensor:
    """`predict` of many networks over a large set, the same bits on every processor.

    Parameters
    ----------
    X, Y : (features, m) inputs and (classes, m) one-hot labels
    parameters : of R networks, W1 (R, out, in), ...
    use_batchnorm : as they were trained

    Returns
    -------
    (R,) fractions, float64; NaN for a network whose output is not finite.

    Raises
    ------
    ValueError
        If an argument does not fit, with its name.
    """
    from nnlib.engine.compiled import accuracies
    from nnlib.engine.layout import to_ink

    X, Y, parameters = labelled_network(X, Y, parameters)
    for name, array in (("X", X), ("Y", Y)):
        if array.ndim != 2:
            raise InputError(f"{name}: expected two axes, the same examples for all networks, got {what(array)}")
    if parameters["W1"].ndim != 3:
        raise InputError(f"parameters: expected W1 (R, out, in) of R networks, got {tuple(parameters['W1'].shape)}")
    # What has no first axis is the same in all networks; NumPy takes no part in autograd.
    X, Y = X.detach(), Y.detach()
    networks = len(parameters["W1"])
    parameters = {name: value.detach().expand(networks, -1, -1) for name, value in parameters.items()}
    dims = [len(X), *(parameters[f"b{layer}"].shape[-2] for layer in range(1, len(parameters) // 2 + 1))]
    settings = Settings(dims, use_batchnorm=use_batchnorm)
    return torch.tensor(accuracies(to_ink(X, Y), parameters, settings, cores()), dtype=torch.float64)
