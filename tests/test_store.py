"""The store: nothing is trained twice, nothing that is not what it says is taken, any number of processes may write."""

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from pipeline import REPOSITORY, run_program
from problems import problem

from nnlib import Seeds, Settings, Stopping, Store, TrainingData, source, train_configurations, train_replicas
from nnlib.core import layers, optimizers, settings
from nnlib.data.files import load_metadata, save_tensors
from nnlib.engine import activations, batched
from nnlib.errors import InputError
from nnlib.replicas import store
from nnlib.replicas.train import check_memory, cores
from nnlib.source import digest

TRAIN, VALIDATION = problem(57), problem(30, seed=1)
# Four steps an epoch; an evaluation at steps 3, 6 and 8.
STOPPING = Stopping(eval_every=3, returns="last")
SETTINGS = Settings(layers_dims=[6, 5, 4, 3], learning_rate=0.1, epochs=2, batch_size=16, stopping=STOPPING)
TRAINED, FOUND = 3, 8


def train(folder, settings=SETTINGS, seeds=(0, 1), data=TRAIN, said=None, **options):
    kept = Store(folder, (said if said is not None else []).append)
    return train_replicas(data, VALIDATION, settings, seeds, store=kept, **options)


def first_steps(folder, *arguments, **options):
    """The step of which each replica tells first: `TRAINED`, `FOUND` or, where it went on, one between."""
    told = []
    train(folder, *arguments, progress=told.append, **options)
    return [step for _, step in sorted({seen.replica: seen.step for seen in reversed(told)}.items())]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("v2/*/*/*.safetensors"))


def assert_same(run, other):
    tensors = other.tensors()
    for name, value in run.tensors().items():
        assert torch.equal(value.nan_to_num(-1), tensors[name].nan_to_num(-1)), name


def test_what_is_asked_for_again_is_not_trained_again(tmp_path):
    assert first_steps(tmp_path) == [TRAINED, TRAINED]
    assert first_steps(tmp_path) == [FOUND, FOUND]
    assert_same(train(tmp_path), train_replicas(TRAIN, VALIDATION, SETTINGS, (0, 1)))


def test_more_replicas_train_only_the_new_ones(tmp_path):
    train(tmp_path, seeds=(0, 1))
    assert first_steps(tmp_path, seeds=(1, 2, 0)) == [FOUND, TRAINED, FOUND]
    assert_same(train(tmp_path, seeds=(0, 1, 2)), train_replicas(TRAIN, VALIDATION, SETTINGS, (0, 1, 2)))


@pytest.mark.parametrize("stopping", [{}, {"patience": 1, "threshold": 0.05}, {"returns": "best"}], ids=str)
def test_more_epochs_go_on_from_the_longest(tmp_path, stopping):
    settings = SETTINGS.replace(stopping=STOPPING.replace(**stopping))
    train(tmp_path, settings.replace(epochs=1))
    train(tmp_path, settings.replace(epochs=3))
    longer = settings.replace(epochs=5)
    if not stopping:
        assert first_steps(tmp_path, longer, seeds=[0]) == [15]
        assert first_steps(tmp_path, settings.replace(epochs=3)) == [12, 12]
    assert_same(train(tmp_path, longer), train_replicas(TRAIN, VALIDATION, longer, (0, 1)))


def test_a_hundred_thousand_epochs_are_more_than_99999(tmp_path):
    train(tmp_path, seeds=[0])
    (path,) = entries(tmp_path)
    tensors, metadata = store.load_tensors(path), load_metadata(path)
    for epochs in (99_999, 100_000):
        tensors["epoch"] = torch.tensor(epochs)
        save_tensors(path.with_stem(str(epochs)), tensors, metadata | {"sha256": store.digest(tensors)})
    assert train(tmp_path, SETTINGS.replace(epochs=100_000), seeds=[0]).epoch == 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.2},
        {"batch_size": 8},
        {"L2": 0.5},
        {"batchnorm": "straight_through"},
        {"batchnorm": "exact"},
        {"initialization": "xavier"},
        {"shuffle": "once"},
        {"stopping": STOPPING.replace(eval_every=4)},
        {"stopping": STOPPING.replace(patience=3)},
        {"stopping": STOPPING.replace(threshold=0.1)},
        {"stopping": STOPPING.replace(rule="change")},
        {"stopping": STOPPING.replace(quantity="validation_accuracy")},
        {"stopping": STOPPING.replace(returns="best")},
        {"layers_dims": [6, 6, 3]},
    ],
    ids=str,
)
def test_other_settings_are_another_replica(tmp_path, change):
    train(tmp_path, seeds=[0])
    assert FOUND not in first_steps(tmp_path, SETTINGS.replace(**change), seeds=[0])


def test_without_batch_norm_its_normalization_makes_no_other_replica(tmp_path):
    train(tmp_path)
    assert first_steps(tmp_path, SETTINGS.replace(normalization={"epsilon": 1e-3})) == [FOUND, FOUND]
    settings = SETTINGS.replace(batchnorm="exact")
    train(tmp_path, settings)
    assert first_steps(tmp_path, settings.replace(normalization={"epsilon": 1e-3})) == [TRAINED, TRAINED]


def test_other_data_other_seeds_or_other_code_are_another_replica(tmp_path, monkeypatch):
    train(tmp_path, seeds=[0, Seeds(weights=1, shuffle=0)])
    assert first_steps(tmp_path, seeds=[0], data=(TRAIN[0].clamp(max=1), TRAIN[1])) == [TRAINED]
    assert first_steps(tmp_path, seeds=[Seeds(0, 1), 1, Seeds(1, 0), Seeds(0, 0)]) == [TRAINED, TRAINED, FOUND, FOUND]
    monkeypatch.setattr(store, "code_digest", lambda: "another")
    assert first_steps(tmp_path, seeds=[0]) == [TRAINED]


def spoil_short(entry: Path, other: Path):
    entry.write_bytes(entry.read_bytes()[:-10])


def spoil_bit(entry: Path, other: Path):
    content = bytearray(entry.read_bytes())
    content[-20] ^= 1
    entry.write_bytes(content)


def spoil_swap(entry: Path, other: Path):
    shutil.copy(other, entry)


def spoil_name(entry: Path, other: Path):
    entry.rename(entry.with_name("00001.safetensors"))


@pytest.mark.parametrize("spoil", [spoil_short, spoil_bit, spoil_swap, spoil_name])
def test_a_damaged_entry_is_said_and_trained_again(tmp_path, spoil):
    before, said = train(tmp_path), []
    spoil(*entries(tmp_path))
    assert sorted(first_steps(tmp_path, said=said)) == [TRAINED, FOUND]
    assert "trained again" in said[0]
    assert first_steps(tmp_path) == [FOUND, FOUND]
    assert_same(train(tmp_path), before)


def test_an_entry_of_another_user_is_trained_again(tmp_path, monkeypatch):
    train(tmp_path, seeds=[0])
    said = []

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "load_tensors", refuse)
    assert first_steps(tmp_path, seeds=[0], said=said) == [TRAINED]
    assert "Permission denied" in said[0]


def test_a_full_disk_costs_the_entries_and_nothing_else_and_is_said_once(tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    said = []
    monkeypatch.setattr(store, "save_tensors", full)
    assert train(tmp_path, seeds=range(5), said=said).epoch == 2
    assert said == ["store: replicas are not kept (No space left on device)"]
    assert not list(tmp_path.rglob("*.part"))


def test_entries_of_the_first_version_are_not_trusted(tmp_path):
    train(tmp_path, seeds=[0])
    shutil.copytree(tmp_path / "v2", tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "v2")
    assert first_steps(tmp_path, seeds=[0]) == [TRAINED]


def test_entries_say_what_they_are(tmp_path):
    train(tmp_path)
    found = {entry.seeds: entry for entry in Store(tmp_path).entries()}
    assert set(found) == {Seeds(0, 0), Seeds(1, 1)}
    assert found[1, 1].settings == SETTINGS
    assert found[1, 1].epoch == 2
    assert found[1, 1].size == found[1, 1].path.stat().st_size


def test_an_entry_lies_under_its_hash_s_first_digits(tmp_path):
    train(tmp_path, seeds=[0])
    (path,) = entries(tmp_path)
    key = load_metadata(path)["key"]
    assert len(key) == 64
    assert path == tmp_path / "v2" / key[:2] / key[:32] / "00002.safetensors"


@pytest.mark.parametrize("name", ["00002 (1)", "._00002", "copy"])
def test_what_lies_beside_an_entry_under_another_name_is_none(tmp_path, name):
    train(tmp_path, seeds=[0])
    (path,) = entries(tmp_path)
    path.with_stem(name).write_bytes(b"nonsense")
    assert first_steps(tmp_path, seeds=[0]) == [FOUND]


def test_a_store_needs_a_folder():
    for folder in ("", None, b"replicas"):
        with pytest.raises(InputError, match=f"^store: expected a folder, got {folder!r}"):
            Store(folder)
    with pytest.raises(InputError, match=r"^store: expected a folder, got '~no-such-user/replicas' "):
        Store("~no-such-user/replicas")


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    train("~/replicas", seeds=[0])
    assert entries(tmp_path / "replicas")
    assert not Path("~").exists()


def test_what_is_no_entry_is_said_and_passed_over(tmp_path):
    train(tmp_path, seeds=[0])
    (sound,) = entries(tmp_path)
    damaged, foreign, folder = (tmp_path / "v2/ab" / name / "00001.safetensors" for name in ("one", "two", "three"))
    for path in (damaged, foreign, folder):
        path.parent.mkdir(parents=True)
    damaged.write_bytes(b"nonsense")
    save_tensors(foreign, {"a": torch.zeros(1)}, {"by": "others"})
    folder.mkdir()
    said = []
    assert [entry.path for entry in Store(tmp_path, said.append).entries()] == [sound]
    assert len(said) == 3
    assert all("not a readable entry" in line for line in said)


def test_what_the_store_has_already_is_told_like_a_last_evaluation(tmp_path):
    run, told = train(tmp_path), []
    train(tmp_path, progress=told.append)
    costs = run.validation_cost[-1].tolist()
    assert [tuple(seen) for seen in told] == [(None, k, 8, costs[k], 16, 16) for k in (0, 1)]
    told = []
    train(tmp_path, SETTINGS.replace(epochs=0), seeds=[0], progress=told.append)
    assert [seen.step for seen in told] == [0]


def test_two_processes_may_write_at_once(tmp_path, quick_python):
    program = f"from test_store import train\ntrain({str(tmp_path / 'store')!r}, seeds=range(4))"
    folders = [tmp_path / name for name in ("one", "another")]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(run_program, folders, [program] * 2))
    assert [process.returncode for process in both] == [0, 0], both
    assert first_steps(tmp_path / "store", seeds=range(4)) == [FOUND] * 4


SEVERAL = {
    "short": SETTINGS.replace(epochs=1),
    "long": SETTINGS.replace(epochs=4),
    "same": SETTINGS.replace(epochs=4),
    "other": SETTINGS.replace(learning_rate=0.2),
    "best": SETTINGS.replace(stopping=STOPPING.replace(returns="best")),
}


@pytest.mark.parametrize("kept", [[], [1], [4], [1, 4], [2]], ids=str)
def test_several_configurations_in_one_pool_are_what_each_is_alone(tmp_path, kept):
    """With what the store has of them, too."""
    for epochs in kept:
        train(tmp_path, SETTINGS.replace(epochs=epochs), seeds=[1])
    data = TrainingData(TRAIN, VALIDATION, SETTINGS.layers_dims)
    runs = dict(train_configurations(data, SEVERAL, [0, 1], store=Store(tmp_path), threads=2))
    assert runs.keys() == SEVERAL.keys()
    for key, run in runs.items():
        assert_same(run, train_replicas(TRAIN, VALIDATION, SEVERAL[key], [0, 1]))


def test_configurations_that_differ_in_their_epochs_alone_are_trained_once():
    told = []
    data = TrainingData(TRAIN, VALIDATION, SETTINGS.layers_dims)
    lengths = {epochs: SETTINGS.replace(epochs=epochs) for epochs in (4, 1, 2)}
    order = [key for key, _ in train_configurations(data, lengths, [0], progress=told.append)]
    assert order == [1, 2, 4]
    assert {seen.configuration for seen in told} == {4}
    regular = [seen.step for seen in told if seen.step % 3 == 0]
    assert regular == [3, 6, 9, 12, 15]
    assert told[-1].done == told[-1].total == 16


def test_a_mistake_in_one_of_several_configurations_is_named_before_any_is_trained(tmp_path):
    data = TrainingData(TRAIN, VALIDATION, SETTINGS.layers_dims)
    for wrong, says in (
        ({"layers_dims": [6, 4]}, r"layers_dims: expected \(6, 3\) at the ends, got \(6, 4\)"),
        ({"batch_size": 58}, "batch_size: expected at most the 57 training examples, got 58"),
    ):
        with pytest.raises(InputError, match=f"^{says}$"):
            train_configurations(
                data, {"right": SETTINGS, "wrong": SETTINGS.replace(**wrong)}, [0], store=Store(tmp_path)
            )
    assert not entries(tmp_path)


# The code that computes.

CODE = b'''"""A module."""

LIMITS = {"float32": 7}


def f(x):
    """The negative."""
    return -x + 1.0
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""\n', ""),
        ('    """The negative."""\n', '    """Minus x,\n    plus one."""\n\n'),
        ("    return -x + 1.0", "    # the negative\n    return (\n        -x  +  1.0\n    )  # and so on"),
        ("\n", "\r\n"),
        ('"float32"', "'float32'"),
    ],
    ids=["no docstring", "another docstring", "comments and layout", "line ends", "quotes"],
)
def test_words_and_layout_are_no_part_of_the_code_that_computes(old, new):
    assert digest({"a": CODE.replace(old.encode(), new.encode())}) == digest({"a": CODE})


@pytest.mark.parametrize(
    ("old", "new"),
    [("-x", "+x"), ("1.0", "1"), ("7", "4"), ("f(x)", "f(x, y)"), ("return ", "")],
    ids=["sign", "type", "number", "argument", "return"],
)
def test_everything_else_is(old, new):
    assert digest({"a": CODE.replace(old.encode(), new.encode())}) != digest({"a": CODE})
    assert digest({"b": CODE}) != digest({"a": CODE})


def test_other_versions_are_refused():
    source.check_versions(source.versions())
    with pytest.raises(InputError, match=r"^versions: expected \{'nnlib': 'other'\}, got \{'nnlib': "):
        source.check_versions({"nnlib": "other"})


TABLES = [
    optimizers.OPTIMIZERS,
    settings.INITIALIZATIONS,
    settings.STOPPING_RULES,
    layers.ACTIVATIONS,
    layers.BATCHNORM_BACKWARD,
    activations.ACTIVATIONS,
    batched.ACTIVATIONS,
]


@pytest.mark.parametrize("table", TABLES)
def test_a_program_cannot_change_what_decides_bits_but_in_the_code(table):
    with pytest.raises(TypeError):
        table["relu"] = None


@pytest.fixture
def changing(tmp_path, monkeypatch):
    """A file of those that decide bits, as it was when nnlib was imported."""
    file = tmp_path / "code" / "core" / "layers.py"
    file.parent.mkdir(parents=True)
    file.write_bytes(CODE)
    monkeypatch.setattr(source, "HERE", tmp_path / "code")
    monkeypatch.setattr(source, "TIMES", source._times())
    return file


def change(file):
    file.write_bytes(CODE.replace(b"-x", b"+x"))


def change_and_undo(file):
    """What was imported in between, or imported again, is other code."""
    change(file)
    file.write_bytes(CODE)


def remove(file):
    file.unlink()


def add(file):
    file.with_name("other.py").write_bytes(CODE)


@pytest.mark.parametrize("edit", [change, change_and_undo, remove, add])
def test_code_that_changed_after_it_was_imported_reads_and_writes_no_store(tmp_path, changing, edit):
    train(tmp_path, seeds=[0])
    time.sleep(0.01)  # so that the file's times differ
    edit(changing)
    kept, said = entries(tmp_path), []
    assert first_steps(tmp_path, seeds=range(5), said=said) == [TRAINED] * 5
    (line,) = said
    assert re.fullmatch(r"store: not used \(nnlib: core/\w+\.py changed after nnlib was imported; start the .*\)", line)
    assert entries(tmp_path) == kept


def test_a_reloaded_module_remembers_what_was_imported(tmp_path, quick_python):
    program = "import importlib\nfrom nnlib import source\nsource.TIMES['old'] = ()\nimportlib.reload(source)\n"
    assert run_program(tmp_path, f"{program}print(source.changed_files())").stdout == "['old']\n"


def test_hidden_files_beside_the_code_are_none_of_it(changing):
    before = source._times()
    changing.with_name(".#layers.py").symlink_to("somebody@somewhere.1234")  # Emacs locks a file so
    checkpoints = changing.with_name(".ipynb_checkpoints")
    checkpoints.mkdir()
    (checkpoints / "layers-checkpoint.py").write_bytes(CODE)
    assert source._times() == before


def test_code_that_changes_while_it_trains_keeps_nothing_from_then_on(tmp_path, changing, monkeypatch):
    said, save = [], store.save_tensors

    def save_and_edit(*arguments):
        save(*arguments)
        if len(entries(tmp_path)) == 2:
            change(changing)

    monkeypatch.setattr(store, "save_tensors", save_and_edit)
    train(tmp_path, seeds=range(5), said=said)
    assert len(entries(tmp_path)) == 2
    assert len(said) == 1


PROGRAM = """
import importlib
from pathlib import Path
import torch
import nnlib
import nnlib.engine.functions
from nnlib import Settings, Store, train_replicas

X, Y = torch.eye(3), torch.eye(3)
settings = Settings(layers_dims=[3, 20, 3], batch_size=3)
train_replicas((X, Y), (X, Y), settings, [0], store=Store("store"))
file = Path(nnlib.engine.functions.__file__)
code = file.read_text(encoding="utf-8")
file.write_text(code.replace('"float32": 7', '"float32": 4'), encoding="utf-8")
importlib.reload(nnlib.engine.functions)
file.write_text(code, encoding="utf-8")
train_replicas((X, Y), (X, Y), settings, range(3), store=Store("store"))
"""


def test_a_notebook_that_imported_other_code_keeps_nothing_from_then_on(tmp_path, quick_python):
    shutil.copytree(REPOSITORY / "nnlib", tmp_path / "nnlib", copy_function=shutil.copy2)
    ran = run_program(tmp_path, PROGRAM)
    assert (ran.returncode, ran.stdout.count("store: not used")) == (0, 1), ran
    assert len(entries(tmp_path / "store")) == 1


# Of 100,000 networks 1001 · 4000 + 4001 · 10 parameters: twice, with momentum three times. And of 4010 units, Z and
# A in two threads, for 512 examples or, with batch norm, 60,000; on a GPU in all networks, with the caches.
@pytest.mark.parametrize(
    ("own", "device", "free", "expected"),
    [
        ({}, "cpu", 2**41, "3013.1 GiB of memory on cpu, 2048.0 GiB are free; about 67970 would fit"),
        (
            {"batchnorm": "exact"},
            "cpu",
            2**41,
            "3016.6 GiB of memory on cpu, 2048.0 GiB are free; about 67890 would fit",
        ),
        ({"optimizer": "momentum"}, "cpu", 1, "4519.6 GiB of memory on cpu, 0.0 GiB are free; about 1 would fit"),
        ({}, "cuda", 2**30, "271904.5 GiB of memory on cuda, 1.0 GiB are free; about 1 would fit"),
    ],
    ids=str,
)
def test_replicas_that_do_not_fit_into_memory_are_refused(own, device, free, expected, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (free, 2**60))
    data = SimpleNamespace(train=SimpleNamespace(X=torch.zeros(1)), validation=SimpleNamespace(examples=60_000))
    settings = Settings(layers_dims=(1000, 4000, 10), **own)
    with pytest.raises(MemoryError, match=f"^replicas: 100000 need about {re.escape(expected)}$"):
        check_memory([settings], 100_000, data, torch.device(device), threads=2)


def test_memory_that_just_suffices_is_enough(monkeypatch):
    weights, passes = 2 * 100 * (1001 * 4000 + 4001 * 10), 2 * 2 * 512 * 4010
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 * (weights + passes)))
    data = SimpleNamespace(train=SimpleNamespace(X=torch.zeros(1)), validation=SimpleNamespace(examples=60_000))
    check_memory([Settings(layers_dims=(1000, 4000, 10))], 100, data, torch.device("cpu"), threads=2)


def test_a_system_that_does_not_know_its_cores_has_one(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("change", [lambda X: X.sub_(X.mean()), lambda X: numpy.negative(X.numpy(), out=X.numpy())])
def test_data_that_is_changed_in_place_is_not_kept_under_what_it_was(epochs, change, tmp_path):
    X, Y = problem(8)
    data, settings = TrainingData((X, Y), (X.clone(), Y), [6, 3]), Settings(layers_dims=(6, 3), epochs=1, batch_size=4)
    dict(train_configurations(data, {1: settings.replace(epochs=epochs)}, [0], store=Store(tmp_path)))
    change(X)
    with pytest.raises(InputError, match=r"^X, Y: expected to be as they were given, got changed in place"):
        dict(train_configurations(data, {1: settings}, [1], store=Store(tmp_path)))


def test_a_validation_set_takes_the_training_sets_precision():
    (X, Y), settings = problem(8), Settings(layers_dims=(6, 3), epochs=1, batch_size=4)
    X = X.float()
    one, other = (train_replicas((X, Y), (those, Y), settings, [0]) for those in (X, X.double()))
    assert one == other


def test_a_stored_run_has_its_parameters_in_the_order_of_the_layers(tmp_path):
    dims = (6, *[3] * 10, 3)
    X, Y = problem(8)
    settings = Settings(layers_dims=dims, epochs=1, batch_size=4)
    trained, stored = (train_replicas((X, Y), (X, Y), settings, [0], store=Store(tmp_path)) for _ in range(2))
    assert list(stored.parameters) == list(trained.parameters)
    assert list(trained.parameters)[:4] == ["W1", "b1", "W2", "b2"]
