"""Replicas on a Dask cluster: the same function that a local thread runs, on the machines of others.

A replica's bits are its own, so which worker trains it, and how often one had to begin again, changes nothing. Needs
the extra `cluster`; docs/cluster.md has how to start workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from importlib.metadata import version
from threading import Event
from typing import Any

import torch

from nnlib.engine.compiled import Sets, train_one
from nnlib.engine.run import Progress, Run, Settings
from nnlib.errors import InputError
from nnlib.replicas.store import source

ANSWER = 20.0  # seconds that the scheduler and its first worker have to answer
BLOCK = 8  # replicas at most in a task, the unit that is lost with a worker
TASKS = 4  # tasks for each of the cluster's threads, so that a slow worker holds up little


class ClusterError(OSError):
    """The cluster cannot be had, or went away."""


def train_on_cluster(
    data: Sets,
    settings: Settings,
    seeds: Sequence[int],
    starts: Mapping[int, Run],
    address: str,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Run]]:
    """Train replica k from `starts[k]` on the cluster of a scheduler; yields (k, run of it alone) block by block.

    The data go to each worker once. A block whose worker dies is run by another.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, has no workers, or goes away.
    InputError
        If the address is none, distributed is not installed here, or a worker has another version of nnlib, Numba or
        NumPy.
    """
    try:
        from distributed import Client, as_completed
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise InputError(f"cluster: expected dask and distributed (the extra 'cluster'), got: {error}") from None
    try:
        get_address_host_port(address)
        client = Client(address, timeout=ANSWER)
    except ValueError as error:
        raise InputError(
            f"cluster: expected an address such as tcp://scheduler:8786, got {address!r} ({error})"
        ) from None
    except OSError as error:
        raise ClusterError(f"cluster: no scheduler answers at {address} within {ANSWER:g} s ({error})") from error
    tasks: list[Any] = []
    try:
        threads = ready(client, address)
        begun = {k: run if run.epoch else None for k, run in starts.items()}
        # As a task's result, made again elsewhere if the worker that has it dies; scattered data would be lost.
        with warnings.catch_warnings(category=UserWarning, action="ignore"):
            there = client.submit(same, data, pure=False)
        for block in blocks(list(starts), threads):
            work = [(k, settings.of(k), seeds[k], begun[k]) for k in block]
            tasks.append(client.submit(train_block, there, work, pure=False))
        for task in as_completed(tasks):
            for k, run in task.result():
                if progress:
                    progress(k, run.step, run.validation_cost[-1].item() if len(run.steps) else torch.nan)
                yield k, run
    except (CancelledError, OSError) as error:
        if isinstance(error, ClusterError):
            raise
        raise ClusterError(f"cluster: the scheduler at {address} went away") from error
    finally:
        client.cancel(tasks)
        client.close()


def ready(client: Any, address: str) -> int:
    """The threads of the cluster's workers, of which there is one and which are all like this process."""
    try:
        client.wait_for_workers(1, timeout=ANSWER)
    except TimeoutError as error:
        raise ClusterError(f"cluster: the scheduler at {address} has no worker within {ANSWER:g} s") from error
    for worker, found in client.run(versions, on_error="return").items():
        if found != versions():
            raise InputError(f"cluster: worker {worker}: expected {versions()}, got {found!r}")
    return sum(client.nthreads().values())


def versions() -> dict[str, str]:
    """What has to agree for the same bits."""
    return {"nnlib": source("cpu")[:12], "numba": version("numba"), "numpy": version("numpy")}


def blocks(which: Sequence[int], threads: int) -> list[Sequence[int]]:
    """The replicas in blocks of up to `BLOCK`, smaller if there are few for each thread."""
    size = max(1, min(BLOCK, len(which) // (TASKS * threads)))
    return [which[first : first + size] for first in range(0, len(which), size)]


def same(data: Sets) -> Sets:
    return data


def train_block(data: Sets, work: Sequence[tuple[int, Settings, int, Run | None]]) -> list[tuple[int, Run]]:
    """What a worker does: one replica after the other, from its first weights where it has no beginning."""
    dtype = torch.from_numpy(data.train.values).dtype
    return [
        (k, train_one(data, settings, seed, start or Run.begin(settings, [seed], dtype), Event(), lambda *_: None))
        for k, settings, seed, start in work
    ]
