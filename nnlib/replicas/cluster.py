"""Replicas on a Dask cluster: the same function that a local thread runs, on the machines of others.

A replica's bits are its own, so which worker trains it, and how often one had to begin again, changes nothing. Needs
the extra `cluster`; docs/cluster.md has how to start workers.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import torch

from nnlib.errors import InputError
from nnlib.records import Positive, Record, Text
from nnlib.source import check_versions, versions

if TYPE_CHECKING:
    from nnlib.engine.compiled import Sets
    from nnlib.engine.run import Job, OnEval, Run

ANSWER = 20.0  # seconds that a scheduler has to answer, or a worker that is asked for its versions
BLOCK = 8  # replicas at most in a task, the unit that is lost with a worker
TASKS = 4  # tasks for each of the cluster's threads, so that a slow worker holds up little
AHEAD = 16  # tasks at least that the scheduler has at a time, or two for each thread


class ClusterError(OSError):
    """The cluster cannot be had, or went away."""


class Cluster(Record):
    """Where the workers are, and how patient to be with them.

    Parameters
    ----------
    address : of the scheduler, such as tcp://scheduler:8786
    wait : seconds without any worker after which training gives up; a batch system's queue may take hours
    silence : seconds without a sign of life after which a worker's replicas are trained by others
    say : called with a line about a worker that is refused or silent

    Raises
    ------
    InputError
        If a value does not fit; the message names it.
    """

    address: Text
    wait: Positive = 20.0
    silence: Positive = 60.0
    say: Callable[[str], object] = print


def train_on_cluster(
    sets: Sets, jobs: Mapping[Any, Job], cluster: Cluster, on_eval: OnEval
) -> Iterator[tuple[Any, Run]]:
    """Train every job on the workers of a scheduler; yields (key, its run) block by block.

    The data go to each worker once. A block is trained again by another worker if its own dies, falls silent or has
    other code, which it checks before and after training.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, has no nnlib, has no worker for too long, or goes away.
    InputError
        If the address is invalid, or distributed is not installed here.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise InputError(f"cluster: expected dask and distributed (the extra 'cluster'), got: {error}") from None
    try:
        get_address_host_port(cluster.address)
        client = Client(cluster.address, timeout=ANSWER)
    except (ValueError, TypeError) as error:  # a TypeError for tls:// without certificates
        raise InputError(
            f"cluster: expected an address such as tcp://scheduler:8786, got {cluster.address!r} ({error})"
        ) from None
    except OSError as error:
        raise ClusterError(f"cluster: no scheduler answers at {cluster.address} within {ANSWER:g} s") from error
    try:
        try:
            client.run_on_scheduler(same, None)
        except ImportError as error:
            raise ClusterError(f"cluster: the scheduler at {cluster.address} needs nnlib, too ({error})") from None
        yield from _Training(client, cluster, sets, jobs).runs(on_eval)
    except KilledWorker as error:
        raise ClusterError(f"cluster: {error}") from error
    except (CancelledError, OSError) as error:
        if isinstance(error, ClusterError):
            raise
        raise ClusterError(f"cluster: the scheduler at {cluster.address} went away") from error
    finally:
        client.close()


class _Training:
    """The blocks that wait and those that the scheduler has, and what is known of its workers."""

    def __init__(self, client: Any, cluster: Cluster, sets: Sets, jobs: Mapping[Any, Job]) -> None:
        self.client, self.cluster, self.sets, self.jobs = client, cluster, sets, jobs
        self.expected = versions()
        self.heard: dict[str, tuple[float, float]] = {}  # each worker's last sign of life, and when it came here
        self.silent: set[str] = set()
        self.refused: set[str] = set()
        self.workers: dict[str, int] = {}  # the others, and their threads
        self.only: set[str] | None = None  # the workers that may have blocks; None for any that comes
        self.deadline = time.monotonic() + cluster.wait
        self.data: Any = None
        self.pending: dict[Any, tuple[Sequence[Any], bool]] = {}  # a task's block, and whether any worker may have it
        self.survey()
        self.waiting = deque(blocks(list(jobs), sum(self.workers.values())))

    def runs(self, on_eval: OnEval) -> Iterator[tuple[Any, Run]]:
        from distributed import wait

        seconds = min(1.0, self.cluster.silence / 4)
        while self.waiting or self.pending:
            self.survey()
            self.submit()
            if not self.pending:
                time.sleep(seconds)
                continue
            try:
                wait(list(self.pending), timeout=seconds, return_when="FIRST_COMPLETED")
            except TimeoutError:
                continue
            for task in [task for task in self.pending if task.done()]:
                if task not in self.pending:  # taken back since
                    continue
                block, anywhere = self.pending.pop(task)
                try:
                    runs = task.result(timeout=self.cluster.silence)
                except TimeoutError:  # the worker that has it does not answer
                    self.waiting.append(block)
                except CancelledError:
                    raise
                except Exception:
                    self.waiting.append(block)
                    refused_before = bool(self.refused)
                    if not self.refuse_other_code() and not (anywhere and refused_before):
                        raise  # it failed where the code is right
                else:
                    for key, run in runs:
                        on_eval(key, run.step, run.validation_cost[-1].item() if len(run.steps) else torch.nan)
                        yield key, run

    def survey(self) -> None:
        """Which workers there are. As long as one is silent or refused, blocks are for the others by name."""
        now, known = time.monotonic(), self.client.scheduler_info(n_workers=-1)["workers"]
        for address, worker in known.items():
            if self.heard.get(address, (None, now))[0] != worker["last_seen"]:
                self.heard[address] = worker["last_seen"], now
        silent = {address for address in known if now - self.heard[address][1] > self.cluster.silence}
        for address in silent - self.silent:
            self.cluster.say(
                f"cluster: no sign of life of worker {address} for {self.cluster.silence:g} s, others do its work"
            )
        self.silent = silent
        no_use = (silent | self.refused) & known.keys()
        self.workers = {address: worker["nthreads"] for address, worker in known.items() if address not in no_use}
        only = set(self.workers) if no_use else None
        if only != self.only:
            self.only = only
            self.take_back()
        if self.workers:
            self.deadline = now + self.cluster.wait
        elif now > self.deadline:
            raise ClusterError(
                f"cluster: the scheduler at {self.cluster.address} has no worker within {self.cluster.wait:g} s"
                + f" but {', '.join(sorted(no_use))}, refused or silent" * bool(no_use)
            )

    def submit(self) -> None:
        """Give the scheduler the next blocks."""
        if self.only == set():
            return
        workers = None if self.only is None else list(self.only)
        while self.waiting and len(self.pending) < max(AHEAD, 2 * sum(self.workers.values())):
            if self.data is None:
                # As a task's result, made again elsewhere if the worker that has it dies; scattered data would be lost.
                with warnings.catch_warnings(category=UserWarning, action="ignore"):
                    self.data = self.client.submit(same, self.sets, pure=False, workers=workers)
            block = self.waiting.popleft()
            jobs = {key: self.jobs[key] for key in block}
            task = self.client.submit(train_block, self.expected, self.data, jobs, pure=False, workers=workers)
            self.pending[task] = block, workers is None

    def take_back(self) -> None:
        """Blocks wait again unless a worker that may have them is at them, and has the data."""
        if self.data is None:
            return
        processing, (holders,) = self.client.processing(), self.client.who_has([self.data]).values()
        kept = {key for address in self.workers if address in holders for key in processing.get(address, ())}
        lost = [task for task in self.pending if task.key not in kept and task.status != "finished"]
        self.client.cancel(lost)
        self.waiting.extendleft(self.pending.pop(task)[0] for task in lost)
        self.data = None

    def refuse_other_code(self) -> bool:
        """Ask every worker for its versions and stop using those with other ones; True if there were any."""
        self.survey()
        before = len(self.refused)
        for address in self.workers:
            answer = {"workers": [address], "on_error": "return", "callback_timeout": ANSWER}
            try:
                (found,) = self.client.run(versions, **answer).values()
            except (TimeoutError, ValueError):  # it hangs, or is gone
                continue
            if found != self.expected and not isinstance(found, OSError):
                self.cluster.say(f"cluster: worker {address} is refused: expected {self.expected}, got {found!r}")
                self.refused.add(address)
        self.survey()
        return len(self.refused) > before


def blocks(which: Sequence[Any], threads: int) -> list[Sequence[Any]]:
    """The replicas in blocks of up to `BLOCK`, smaller if there are few for each thread."""
    size = max(1, min(BLOCK, len(which) // (TASKS * max(1, threads))))
    return [which[first : first + size] for first in range(0, len(which), size)]


def same(sets: Any) -> Any:
    return sets


def train_block(expected: dict[str, str], sets: Sets, jobs: Mapping[Any, Job]) -> list[tuple[Any, Run]]:
    """What a worker does: one job after the other, if its code is the one that is expected, before and after."""
    from nnlib.engine.compiled import train_each

    check_versions(expected)
    runs = list(train_each(sets, jobs, threads=1, on_eval=lambda *_: None))
    check_versions(expected)
    return runs
