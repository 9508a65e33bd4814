"""Replicas on a Dask cluster: the same function that a local thread runs, on the machines of others.

A replica's bits are its own, so which worker trains it, and how often one had to begin again, changes nothing. Needs
the extra `cluster`; docs/cluster.md has how to start workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from importlib.metadata import version
from typing import Any

import torch

from nnlib.engine.compiled import Sets, train_each
from nnlib.engine.run import Job, OnEval, Run
from nnlib.errors import InputError
from nnlib.source import code_digest

ANSWER = 20.0  # seconds that the scheduler and its first worker have to answer
BLOCK = 8  # replicas at most in a task, the unit that is lost with a worker
TASKS = 4  # tasks for each of the cluster's threads, so that a slow worker holds up little


class ClusterError(OSError):
    """The cluster cannot be had, or went away."""


def train_on_cluster(sets: Sets, jobs: Mapping[Any, Job], address: str, on_eval: OnEval) -> Iterator[tuple[Any, Run]]:
    """Train every job on the cluster of a scheduler; yields (key, its run) block by block.

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
        # As a task's result, made again elsewhere if the worker that has it dies; scattered data would be lost.
        with warnings.catch_warnings(category=UserWarning, action="ignore"):
            there = client.submit(same, sets, pure=False)
        for block in blocks(list(jobs), threads):
            tasks.append(client.submit(train_block, there, {key: jobs[key] for key in block}, pure=False))
        for task in as_completed(tasks):
            for key, run in task.result():
                on_eval(key, run.step, run.validation_cost[-1].item() if len(run.steps) else torch.nan)
                yield key, run
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
    return {"nnlib": code_digest()[:12], "numba": version("numba"), "numpy": version("numpy")}


def blocks(which: Sequence[Any], threads: int) -> list[Sequence[Any]]:
    """The replicas in blocks of up to `BLOCK`, smaller if there are few for each thread."""
    size = max(1, min(BLOCK, len(which) // (TASKS * threads)))
    return [which[first : first + size] for first in range(0, len(which), size)]


def same(sets: Sets) -> Sets:
    return sets


def train_block(sets: Sets, jobs: Mapping[Any, Job]) -> list[tuple[Any, Run]]:
    """What a worker does: one job after the other."""
    return list(train_each(sets, jobs, threads=1, on_eval=lambda *_: None))
