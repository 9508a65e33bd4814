"""Replicas on a real scheduler with real worker processes: the same bytes as here, whichever worker dies or hangs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from pipeline import ENVIRONMENT, REPOSITORY
from problems import problem

from nnlib import Cluster, Seeds, Settings, Store, train_replicas
from nnlib.engine.compiled import Sets
from nnlib.engine.layout import to_csr
from nnlib.engine.run import Job, Run
from nnlib.errors import InputError
from nnlib.replicas import cluster
from nnlib.replicas.cluster import ClusterError
from nnlib.source import versions

pytestmark = pytest.mark.usefixtures("quick_python")

TRAIN, VALIDATION = problem(57), problem(30, seed=1)
SETTINGS = Settings(layers_dims=[6, 5, 4, 3], learning_rate=0.1, epochs=4, batch_size=16, stopping={"eval_every": 3})
# What a worker may load first: after its first block it waits for a file, so that others may come or it may go.
WAITING = """
import time
from pathlib import Path
from nnlib.engine import compiled


def train_later(*arguments, train_each=compiled.train_each, first=[True], **options):
    while not first and not Path({go!r}).exists():
        time.sleep(0.02)
    first.clear()
    yield from train_each(*arguments, **options)


compiled.train_each = train_later
"""


class Processes:
    """A scheduler and workers as processes of their own on this machine."""

    def __init__(self, folder, scheduler_path=()):
        self.folder, self.processes = folder, []
        file = folder / "scheduler.json"
        options = ["--scheduler-file", str(file), "--port", "0", "--no-dashboard"]
        self.scheduler = self.start("dask_scheduler", *options, path=scheduler_path)
        self.options = ["--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard"]
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))  # it appears before it is written
        self.address = json.loads(file.read_text())["address"]

    def start(self, program, *options, path=(), python="python"):
        process = subprocess.Popen(
            [python, "-m", f"distributed.cli.{program}", *options],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([*map(str, path), *sys.path])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def start_worker(self, **how):
        return self.start("dask_worker", *self.options, "--no-nanny", "--local-directory", str(self.folder), **how)

    def worker(self, **how):
        """A worker, there when this returns."""
        before, process = self.workers(), self.start_worker(**how)
        wait_until(lambda: self.workers() - before)
        return process

    def waiting_worker(self, **how):
        (self.folder / "waiting.py").write_text(WAITING.format(go=str(self.folder / "go")))
        self.options += ["--preload", str(self.folder / "waiting.py")]
        process = self.worker(**how)
        del self.options[-2:]
        return process

    def go(self):
        (self.folder / "go").touch()

    def workers(self):
        from distributed import Client  # takes a second, which a process that only lists the tests need not wait for

        with Client(self.address, set_as_default=False) as client:
            return set(client.nthreads())

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory, quick_python):
    made = Processes(tmp_path_factory.mktemp("cluster"))
    made.worker()
    made.worker()
    yield made
    made.close()


@pytest.fixture
def said():
    return []


def train(where, said=None, settings=SETTINGS, seeds=range(5), **options):
    own = {name: options.pop(name) for name in ("wait", "silence") if name in options}
    say = print if said is None else said.append
    return train_replicas(
        TRAIN, VALIDATION, settings, seeds, cluster=Cluster(address=where.address, say=say, **own), **options
    )


def assert_same_as_here(remote, settings=SETTINGS, seeds=range(5)):
    here = train_replicas(TRAIN, VALIDATION, settings, seeds).tensors()
    for name, value in remote.tensors().items():
        assert torch.equal(value.nan_to_num(-1), here[name].nan_to_num(-1)), name


def test_a_cluster_gives_the_same_bits_as_local_threads(two_workers):
    told = []
    remote = train(two_workers, seeds=range(9), progress=told.append)
    assert_same_as_here(remote, seeds=range(9))
    costs = remote.validation_cost[-1].tolist()
    assert sorted((seen.replica, seen.step, seen.validation_cost) for seen in told) == [
        (k, remote.step, cost) for k, cost in enumerate(costs)
    ]
    assert_same_as_here(train_replicas(TRAIN, VALIDATION, SETTINGS, range(5), cluster=two_workers.address))


def test_a_cluster_goes_on_from_the_store_and_fills_it(two_workers, tmp_path):
    store, told = Store(tmp_path), []
    train_replicas(TRAIN, VALIDATION, SETTINGS.replace(epochs=2), range(3), store=store)
    train_replicas(TRAIN, VALIDATION, SETTINGS, [0], store=store)
    assert_same_as_here(train(two_workers, store=store, progress=told.append))
    # One that is done, two that were half done, two from the beginning: of 80 steps 16 + 8 + 8.
    assert next(seen.done for seen in told) == 16 + 8 + 8
    assert len(list(tmp_path.rglob("00004.safetensors"))) == 5


def test_a_worker_that_dies_costs_only_its_block(processes):
    doomed, finished = processes.waiting_worker(), []

    def replace_the_worker(seen):
        finished.append(seen.replica)
        if len(finished) == 2:  # the only one, which has the data
            doomed.kill()
            processes.worker()
            processes.go()

    remote = train(processes, seeds=range(8), progress=replace_the_worker)
    assert doomed.wait() != 0
    assert sorted(finished) == list(range(8))
    assert_same_as_here(remote, seeds=range(8))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops processes by a signal of Unix")
def test_a_worker_that_hangs_has_its_blocks_run_by_others_and_harms_nothing_when_it_wakes_up(processes, said):
    """As a laptop that sleeps, or a network that goes away without a goodbye. The first has the data alone at first."""
    # A process of its own, not of the one that has imported the libraries beforehand, which would not stop.
    sleeper, finished = processes.waiting_worker(python=sys.executable), []

    def stop_the_worker(seen):
        finished.append(seen.replica)
        if len(finished) == 2:
            sleeper.send_signal(signal.SIGSTOP)
            processes.worker()
            processes.go()

    remote = train(processes, said, seeds=range(8), progress=stop_the_worker, silence=2.0)
    (line,) = said
    assert line.startswith("cluster: no sign of life of worker tcp://")
    assert line.endswith(" for 2 s, others do its work")
    assert sorted(finished) == list(range(8))
    assert_same_as_here(remote, seeds=range(8))
    sleeper.send_signal(signal.SIGCONT)
    assert_same_as_here(train(processes, said, seeds=range(8)), seeds=range(8))
    assert (len(said), sleeper.poll()) == (1, None)


@pytest.fixture
def other_code(tmp_path):
    """A folder with another version of nnlib."""
    folder = tmp_path / "other"
    shutil.copytree(REPOSITORY / "nnlib", folder / "nnlib", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "nnlib" / "core" / "seeds.py"
    file.write_text(file.read_text(encoding="utf-8").replace("spawn_key=(epoch,)", "spawn_key=(epoch + 1,)"), "utf-8")
    return folder


@pytest.fixture
def no_code(tmp_path):
    """A folder that makes nnlib one that cannot be imported."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "nnlib.py").write_text("raise ImportError('no nnlib here')")
    return tmp_path / "none"


def test_a_worker_with_other_code_that_joins_late_is_refused_by_name(processes, said, other_code):
    processes.waiting_worker()
    joined = []

    def go_when_it_is_refused():
        wait_until(lambda: said)
        processes.go()

    def join(seen):
        if not joined:
            joined.append(processes.start_worker(path=[other_code]))
            threading.Thread(target=go_when_it_is_refused).start()

    remote = train(processes, said, seeds=range(24), progress=join)
    assert_same_as_here(remote, seeds=range(24))
    (line,) = said
    assert line.startswith("cluster: worker tcp://")
    assert f" is refused: expected {versions()}, got {{'nnlib': " in line


def test_a_worker_without_nnlib_ends_at_its_first_block_and_harms_nothing(processes, said, no_code):
    processes.waiting_worker()
    joined = []

    def join(seen):
        if not joined:
            joined.append(processes.start_worker(path=[no_code]))
            threading.Timer(3.0, processes.go).start()

    assert_same_as_here(train(processes, said, seeds=range(24), progress=join), seeds=range(24))


def test_if_all_are_refused_it_waits_for_another_and_then_says_so(processes, said, other_code):
    processes.worker(path=[other_code])
    with pytest.raises(
        ClusterError, match=r"^cluster: the scheduler at \S+ has no worker within 2 s but tcp://\S+, refused or silent$"
    ):
        train(processes, said, wait=2.0)
    assert len(said) == 1


def test_a_scheduler_that_goes_away_is_one_line_and_what_was_finished_is_in_the_store(processes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 5.0)  # Dask tries as long to reach it again
    processes.waiting_worker()
    store = Store(tmp_path / "store")
    with pytest.raises(ClusterError, match=r"^cluster: the scheduler at tcp://\S* went away$"):
        train(processes, seeds=range(8), store=store, progress=lambda _: processes.scheduler.kill())
    assert list((tmp_path / "store").rglob("*.safetensors"))


def test_a_scheduler_without_nnlib_is_one_line(tmp_path, no_code):
    here = Processes(tmp_path, [no_code])
    try:
        with pytest.raises(
            ClusterError, match=r"^cluster: the scheduler at tcp://\S+ needs nnlib, too \(no nnlib here\)$"
        ):
            train(here)
    finally:
        here.close()


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1", "http://127.0.0.1:8786", "tcp://127.0.0.1:x", "tls://127.0.0.1:8786"]
)
def test_what_is_no_address_is_named(address):
    with pytest.raises(InputError, match=f"^cluster: expected an address such as .*, got '{address}' "):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster=address)


def test_an_address_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    with pytest.raises(ClusterError, match=r"^cluster: no scheduler answers at tcp://127.0.0.1:9 within 0.5 s"):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster="tcp://127.0.0.1:9")


def test_a_scheduler_without_workers_is_waited_for_as_long_as_asked(processes):
    with pytest.raises(ClusterError, match=r"has no worker within 1 s$"):
        train(processes, wait=1.0)
    late = threading.Timer(2.0, processes.worker)
    late.start()
    assert_same_as_here(train(processes, wait=60.0))
    late.join()


def test_the_stages_wait_as_long_as_the_environment_says(monkeypatch):
    from stages.training import cluster as of_the_stages

    assert of_the_stages() is None
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://here:8786")
    assert of_the_stages() == Cluster(address="tcp://here:8786", wait=20)
    monkeypatch.setenv("CLUSTER_WAIT", "3600")
    assert of_the_stages() == Cluster(address="tcp://here:8786", wait=3600)
    for none in ("an hour", "-1", "nan"):
        monkeypatch.setenv("CLUSTER_WAIT", none)
        with pytest.raises(InputError, match=f"^CLUSTER_WAIT: expected a number of seconds above 0, got '{none}'$"):
            of_the_stages()


def test_an_adaptive_cluster_starts_workers_when_there_is_work():
    from distributed import LocalCluster  # takes a second, which a process that only lists the tests need not wait for

    in_this_process = {"processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    with LocalCluster(n_workers=0, threads_per_worker=1, **in_this_process) as adaptive:
        adaptive.adapt(minimum=0, maximum=2, interval="50ms")
        remote = train_replicas(TRAIN, VALIDATION, SETTINGS, range(5), cluster=adaptive.scheduler_address)
    assert_same_as_here(remote)


def test_without_dask_the_extra_that_has_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"^cluster: expected dask and distributed \(the extra 'cluster'\), got: "):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster="tcp://127.0.0.1:9")


def test_a_worker_trains_a_block_from_the_beginnings_that_it_is_given():
    data, half = Sets(to_csr(*TRAIN), to_csr(*VALIDATION)), SETTINGS.replace(epochs=2)
    begun = Run.begin(SETTINGS, [4], torch.float64)
    jobs = {
        "half": Job(SETTINGS, Seeds(3, 3), train_replicas(TRAIN, VALIDATION, half, [3]), (4,)),
        "whole": Job(SETTINGS, Seeds(4, 4), begun, (2, 4)),
    }
    trained = {(key, run.epoch): run for key, run in cluster.train_block(versions(), data, jobs)}
    assert trained.keys() == {("half", 4), ("whole", 2), ("whole", 4)}
    assert_same_as_here(trained["half", 4], seeds=[3])
    assert_same_as_here(trained["whole", 2], half, [4])
    with pytest.raises(InputError, match=r"^versions: expected .'nnlib': 'other'., got "):
        cluster.train_block({"nnlib": "other"}, data, jobs)


@pytest.mark.parametrize(
    ("count", "threads", "size"), [(1, 1, 1), (7, 2, 1), (56, 2, 7), (64, 1, 8), (64, 8, 2), (64, 0, 8)]
)
def test_a_block_is_a_quarter_of_a_threads_share_and_eight_at_most(count, threads, size):
    assert max(map(len, cluster.blocks(range(count), threads))) == size


def test_blocks_hold_every_replica_once():
    for count in (1, 7, 8, 50, 1000):
        for threads in (1, 2, 16):
            parts = cluster.blocks(list(range(count)), threads)
            assert [k for part in parts for k in part] == list(range(count))
            assert max(map(len, parts)) <= cluster.BLOCK
