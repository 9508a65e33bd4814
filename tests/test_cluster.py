"""Replicas on a real scheduler with real worker processes: the same bytes as here, whoever dies on the way."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from pipeline import ENVIRONMENT
from problems import problem

from nnlib import Settings, Store, train_replicas
from nnlib.engine.compiled import Sets
from nnlib.engine.layout import to_ink
from nnlib.errors import InputError
from nnlib.replicas import cluster
from nnlib.replicas.cluster import ClusterError

pytestmark = pytest.mark.usefixtures("quick_python")

TRAIN, VALIDATION = problem(57), problem(30, seed=1)
SETTINGS = Settings([6, 5, 4, 3], learning_rate=0.1, epochs=4, batch_size=16, look_every=3)


class Cluster:
    """A scheduler and workers as processes of their own on this machine."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        file = folder / "scheduler.json"
        self.scheduler = self.start("dask_scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")
        self.options = ["--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))  # it appears before it is written
        self.address = json.loads(file.read_text())["address"]

    def start(self, program, *options):
        process = subprocess.Popen(
            ["python", "-m", f"distributed.cli.{program}", *options],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def worker(self):
        return self.start("dask_worker", *self.options, "--local-directory", str(self.folder))

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory, quick_python):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.worker()
    made.worker()
    yield made
    made.close()


def assert_same(one, other):
    for name, value in one.tensors().items():
        assert torch.equal(value.nan_to_num(-1), other.tensors()[name].nan_to_num(-1)), name


def test_a_cluster_gives_the_same_bits_as_local_threads(two_workers, tmp_path):
    settings = replace(SETTINGS, L2=torch.linspace(0, 0.5, 9))
    told = []
    remote = train_replicas(
        TRAIN, VALIDATION, settings, range(9), cluster=two_workers.address, progress=lambda *look: told.append(look)
    )
    assert_same(remote, train_replicas(TRAIN, VALIDATION, settings, range(9)))
    assert sorted(told) == [(k, remote.step, cost) for k, cost in enumerate(remote.validation_cost[-1].tolist())]


def test_a_cluster_goes_on_from_the_store_and_fills_it(two_workers, tmp_path, monkeypatch):
    from distributed import Client  # takes a second, which a process that only lists the tests need not wait for

    submit, sent = Client.submit, []

    def note(self, function, *arguments, **options):
        sent.extend(arguments[-1] if function is cluster.train_block else ())
        return submit(self, function, *arguments, **options)

    monkeypatch.setattr(Client, "submit", note)
    store = Store(tmp_path)
    train_replicas(TRAIN, VALIDATION, replace(SETTINGS, epochs=2), range(3), store=store)
    remote = train_replicas(TRAIN, VALIDATION, SETTINGS, range(5), cluster=two_workers.address, store=store)
    assert_same(remote, train_replicas(TRAIN, VALIDATION, SETTINGS, range(5)))
    assert [(k, start and start.epoch) for k, *_, start in sent] == [(0, 2), (1, 2), (2, 2), (3, None), (4, None)]
    assert len(list(tmp_path.rglob("00004.safetensors"))) == 5


def test_a_worker_that_dies_costs_only_its_block(tmp_path):
    here = Cluster(tmp_path)
    try:
        doomed = here.worker()
        settings = replace(SETTINGS, epochs=300)
        finished = []

        def replace_the_worker(k, step, cost):
            finished.append(k)
            if len(finished) == 2:  # the only one, which has the data
                doomed.kill()
                here.worker()

        remote = train_replicas(
            TRAIN, VALIDATION, settings, range(8), cluster=here.address, progress=replace_the_worker
        )
        assert doomed.wait() != 0
        assert sorted(finished) == list(range(8))
        assert_same(remote, train_replicas(TRAIN, VALIDATION, settings, range(8)))
    finally:
        here.close()


def test_a_scheduler_that_goes_away_is_one_line_and_what_was_finished_is_in_the_store(tmp_path):
    here = Cluster(tmp_path)
    store = Store(tmp_path / "store")
    try:
        here.worker()

        def kill_scheduler(k, step, cost):
            here.scheduler.kill()

        with pytest.raises(ClusterError, match=r"^cluster: the scheduler at tcp://\S* went away$"):
            train_replicas(
                TRAIN,
                VALIDATION,
                replace(SETTINGS, epochs=300),
                range(8),
                cluster=here.address,
                store=store,
                progress=kill_scheduler,
            )
    finally:
        here.close()
    assert list((tmp_path / "store").rglob("*.safetensors"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "http://127.0.0.1:8786", "tcp://127.0.0.1:x"])
def test_what_is_no_address_is_named(address):
    with pytest.raises(InputError, match=f"^cluster: expected an address such as .*, got '{address}' "):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster=address)


def test_an_address_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    with pytest.raises(ClusterError, match=r"^cluster: no scheduler answers at tcp://127.0.0.1:9 within 0.5 s"):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster="tcp://127.0.0.1:9")


def test_a_scheduler_without_workers_is_waited_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 2.0)
    here = Cluster(tmp_path)
    try:
        with pytest.raises(ClusterError, match=r"has no worker within 2 s"):
            train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster=here.address)
    finally:
        here.close()


def test_a_worker_of_another_version_is_refused_by_name(two_workers, monkeypatch):
    monkeypatch.setattr(cluster, "version", lambda name: "0.1")
    expected = r"^cluster: worker tcp://\S*: expected {'nnlib': '\w{12}', 'numba': '0.1'.*}, got {.*'numba'"
    with pytest.raises(InputError, match=expected):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster=two_workers.address)


def test_without_dask_the_extra_that_has_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"^cluster: expected dask and distributed \(the extra 'cluster'\), got: "):
        train_replicas(TRAIN, VALIDATION, SETTINGS, [0], cluster="tcp://127.0.0.1:9")


def test_a_worker_trains_a_block_from_the_beginnings_that_it_is_given():
    data, seeds = Sets(to_ink(*TRAIN), to_ink(*VALIDATION)), [3, 4]
    one = train_replicas(TRAIN, VALIDATION, replace(SETTINGS, epochs=2), seeds[:1])
    work = [(0, SETTINGS, seeds[0], one), (1, SETTINGS, seeds[1], None)]
    trained = dict(cluster.train_block(cluster.same(data), work))
    assert [*trained] == [0, 1]
    for k, run in trained.items():
        assert_same(run, train_replicas(TRAIN, VALIDATION, SETTINGS, [seeds[k]]))


@pytest.mark.parametrize(("count", "threads", "size"), [(1, 1, 1), (7, 2, 1), (56, 2, 7), (64, 1, 8), (64, 8, 2)])
def test_a_block_is_a_quarter_of_a_threads_share_and_eight_at_most(count, threads, size):
    assert max(map(len, cluster.blocks(range(count), threads))) == size


def test_blocks_hold_every_replica_once():
    for count in (1, 7, 8, 50, 1000):
        for threads in (1, 2, 16):
            parts = cluster.blocks(list(range(count)), threads)
            assert [k for part in parts for k in part] == list(range(count))
            assert max(map(len, parts)) <= cluster.BLOCK
