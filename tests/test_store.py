"""The store: nothing is trained twice, nothing that is not what it says is taken, any number of processes may write."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pipeline import run_program
from problems import problem

import nnlib
from nnlib import Settings, Store, train_replicas
from nnlib.data.files import load_metadata, save_tensors
from nnlib.errors import InputError
from nnlib.replicas import store
from nnlib.replicas import train as replicas

TRAIN, VALIDATION = problem(57), problem(30, seed=1)
SETTINGS = Settings([6, 5, 4, 3], learning_rate=0.1, epochs=2, batch_size=16, look_every=3)


@pytest.fixture
def trained(monkeypatch):
    """Which replicas are trained, and how far they had come before: (k, epoch) for each."""
    seen = []
    original = replicas._on_cpu

    def spy(train, validation, settings, seeds, starts, *rest):
        seen.extend((k, run.epoch) for k, run in starts.items())
        return original(train, validation, settings, seeds, starts, *rest)

    monkeypatch.setattr(replicas, "_on_cpu", spy)
    return seen


def train(folder, settings=SETTINGS, seeds=(0, 1), data=TRAIN, said=None):
    kept = Store(folder, (said if said is not None else []).append)
    return train_replicas(data, VALIDATION, settings, seeds, store=kept)


def assert_same(one, other):
    tensors = other.tensors()
    for name, value in one.tensors().items():
        assert torch.equal(value.nan_to_num(-1), tensors[name].nan_to_num(-1)), name


def test_what_is_asked_for_again_is_not_trained_again(tmp_path, trained):
    first = train(tmp_path)
    assert trained == [(0, 0), (1, 0)]
    assert_same(train(tmp_path), first)
    assert len(trained) == 2


def test_more_replicas_train_only_the_new_ones(tmp_path, trained):
    train(tmp_path, seeds=(0, 1))
    together = train(tmp_path, seeds=(0, 1, 2))
    assert trained[2:] == [(2, 0)]
    assert_same(together, train_replicas(TRAIN, VALIDATION, SETTINGS, (0, 1, 2)))


@pytest.mark.parametrize("stopping", [{}, {"patience": 1, "threshold": 0.05, "stopping_rule": "improvement"}])
def test_more_epochs_go_on_from_the_longest(tmp_path, trained, stopping):
    settings = replace(SETTINGS, **stopping)
    for epochs in (1, 3):
        train(tmp_path, replace(settings, epochs=epochs))
    longer = train(tmp_path, replace(settings, epochs=5))
    train(tmp_path, replace(settings, epochs=3))
    assert trained == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 3), (1, 3)]
    assert_same(longer, train_replicas(TRAIN, VALIDATION, replace(settings, epochs=5), (0, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.2},
        {"batch_size": 8},
        {"L2": 0.5},
        {"use_batchnorm": True},
        {"batchnorm_rule": "exact"},
        {"rule": "xavier"},
        {"look_every": 4},
        {"patience": 3},
        {"reshuffle": False},
        {"threshold": 0.1},
        {"stopping_rule": "improvement"},
        {"layers_dims": [6, 6, 3]},
    ],
    ids=str,
)
def test_other_settings_are_another_replica(tmp_path, trained, change):
    train(tmp_path, seeds=[0])
    train(tmp_path, replace(SETTINGS, **change), seeds=[0])
    assert len(trained) == 2


def test_other_data_or_another_source_are_another_replica(tmp_path, trained, monkeypatch):
    train(tmp_path, seeds=[0])
    train(tmp_path, seeds=[0], data=(TRAIN[0].clamp(max=1), TRAIN[1]))
    monkeypatch.setattr(store, "source", lambda device: "another")
    train(tmp_path, seeds=[0])
    assert len(trained) == 3


def test_each_replica_is_kept_under_its_own_l2(tmp_path, trained):
    train(tmp_path, replace(SETTINGS, L2=torch.tensor([0.0, 0.5])))
    train(tmp_path, replace(SETTINGS, L2=0.5), seeds=[1])
    assert len(trained) == 2


def entry(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.safetensors"))


def spoil_short(one: Path, other: Path):
    one.write_bytes(one.read_bytes()[:-10])


def spoil_bit(one: Path, other: Path):
    content = bytearray(one.read_bytes())
    content[-20] ^= 1
    one.write_bytes(content)


def spoil_swap(one: Path, other: Path):
    shutil.copy(other, one)


def spoil_name(one: Path, other: Path):
    one.rename(one.with_name("00001.safetensors"))


@pytest.mark.parametrize("spoil", [spoil_short, spoil_bit, spoil_swap, spoil_name])
def test_a_damaged_entry_is_said_and_trained_again(tmp_path, trained, spoil):
    first, said = train(tmp_path), []
    spoil(*entry(tmp_path))
    assert_same(train(tmp_path, said=said), first)
    assert len(trained) == 3
    assert "trained again" in said[0]
    assert train(tmp_path, said=said).epoch == 2
    assert len(trained) == 3


def test_an_entry_of_another_user_is_trained_again(tmp_path, trained, monkeypatch):
    train(tmp_path, seeds=[0])
    said = []

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "load_tensors", refuse)
    train(tmp_path, seeds=[0], said=said)
    assert len(trained) == 2
    assert "Permission denied" in said[0]


def test_a_full_disk_costs_the_entry_and_nothing_else(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    said, kept = [], Store(tmp_path)
    monkeypatch.setattr(store, "save_tensors", full)
    kept.say = said.append
    run = train_replicas(TRAIN, VALIDATION, SETTINGS, [0], store=kept)
    assert run.epoch == 2
    assert "No space left" in said[0]
    assert not list(tmp_path.rglob("*.part"))


def test_a_store_of_another_version_is_refused(tmp_path):
    Store(tmp_path)
    (tmp_path / "VERSION").write_text("99\n")
    with pytest.raises(InputError, match=r"^store: expected version 1 in .*, got '99'"):
        Store(tmp_path)


def test_entries_say_what_they_are(tmp_path):
    train(tmp_path)
    seeds = {one.seed: one for one in Store(tmp_path).entries()}
    assert set(seeds) == {0, 1}
    assert seeds[1].settings["learning_rate"] == 0.1
    assert seeds[1].epoch == 2
    assert seeds[1].size == seeds[1].path.stat().st_size


def test_an_entry_lies_under_its_hash_s_first_digits(tmp_path):
    train(tmp_path, seeds=[0])
    (path,) = entry(tmp_path)
    key = load_metadata(path)["key"]
    assert len(key) == 64
    assert path == tmp_path / key[:2] / key[:32] / "00002.safetensors"


@pytest.mark.parametrize("name", ["00002 (1)", "._00002", "copy"])
def test_what_lies_beside_an_entry_under_another_name_is_none(tmp_path, trained, name):
    run = train(tmp_path, seeds=[0])
    (path,) = entry(tmp_path)
    path.with_stem(name).write_bytes(b"nonsense")
    assert_same(train(tmp_path, seeds=[0]), run)
    assert len(trained) == 1


def test_the_order_in_which_a_replica_is_described_is_no_part_of_its_key(tmp_path):
    shelf = Store(tmp_path).shelf(TRAIN, VALIDATION, torch.device("cpu"))
    about = shelf.about(SETTINGS, 0)
    assert shelf._folder(dict(reversed(about.items()))) == shelf._folder(about)


def test_a_store_needs_a_folder():
    with pytest.raises(ValueError, match=r"^store: expected a folder, got ''"):
        Store("")


def test_what_is_no_entry_is_said_and_passed_over(tmp_path):
    train(tmp_path, seeds=[0])
    (sound,) = entry(tmp_path)
    damaged, foreign, folder = (tmp_path / "ab" / name / "00001.safetensors" for name in ("one", "two", "three"))
    for path in (damaged, foreign, folder):
        path.parent.mkdir(parents=True)
    damaged.write_bytes(b"nonsense")
    save_tensors(foreign, {"a": torch.zeros(1)}, {"by": "others"})
    folder.mkdir()
    said = []
    assert [one.path for one in Store(tmp_path, said.append).entries()] == [sound]
    assert len(said) == 3
    assert all("not a readable entry" in line for line in said)


def test_what_the_store_has_already_is_told_like_a_last_look(tmp_path):
    first, told = train(tmp_path), []
    train_replicas(TRAIN, VALIDATION, SETTINGS, (0, 1), store=Store(tmp_path), progress=lambda *look: told.append(look))
    assert told == [(k, 8, first.validation_cost[-1, k].item()) for k in (0, 1)]
    untrained, told = replace(SETTINGS, epochs=0), []
    train(tmp_path, untrained)
    train_replicas(TRAIN, VALIDATION, untrained, (0,), store=Store(tmp_path), progress=lambda *look: told.append(look))
    assert told == [(0, 0, pytest.approx(float("nan"), nan_ok=True))]


def test_two_processes_may_write_at_once(tmp_path, trained, quick_python):
    program = f"from test_store import train\ntrain({str(tmp_path / 'store')!r}, seeds=range(4))"
    folders = [tmp_path / name for name in ("one", "another")]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(run_program, folders, [program] * 2))
    assert [process.returncode for process in both] == [0, 0], both
    run = train(tmp_path / "store", seeds=range(4))
    assert trained == []
    assert_same(run, train_replicas(TRAIN, VALIDATION, SETTINGS, range(4)))


def test_the_sources_are_files_of_the_package():
    folder = Path(nnlib.__file__).parent
    assert all((folder / name).is_file() for name in (*store.SHARED, *store.SOURCES["cpu"], *store.SOURCES["cuda"]))
    assert len(store.source("cpu")) == 64
    assert store.source("cpu") != store.source("cuda")
