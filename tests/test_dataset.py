"""From images to arrays: scale, layout, labels, and a split that loses and doubles nothing."""

import numpy as np
import pytest
import torch

from nnlib import InputError, load_mnist
from nnlib.data import dataset
from nnlib.data.files import save_tensors


def images(m, offset=0):
    """Images of 28 × 28 whose grey level is their number, with their number modulo 10 as label."""
    numbers = torch.arange(offset, offset + m)
    return numbers.to(torch.uint8)[:, None, None].expand(m, 28, 28).clone(), (numbers % 10).to(torch.uint8)


TRAIN, OFFICIAL = images(100), images(30, offset=200)


def numbers(arrays, *names):
    """Which images some sets hold, in order."""
    return sorted(round(255 * grey) for name in names for grey in arrays[f"X_{name}"][0].tolist())


SPLIT = ("train", "validation", "test")


def test_the_studys_split_has_its_sizes_and_every_example_once():
    parts = dataset.split(60_000, 0.2, 0.2, seed=0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 38_400, "validation": 9_600, "test": 12_000}
    assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(60_000))


def test_the_seed_decides_the_split():
    one, same, other = (dataset.split(100, 0.2, 0.2, seed)["test"] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, torch.arange(80, 100))


def test_pixels_are_fractions_and_images_columns_row_by_row():
    pixels = torch.tensor([[[0, 51], [102, 255]], [[255, 0], [0, 0]]], dtype=torch.uint8)
    X = dataset.flatten(dataset.normalize(pixels))
    assert X.dtype == torch.float32
    assert X.is_contiguous()
    torch.testing.assert_close(X, torch.tensor([[0.0, 1.0], [0.2, 0.0], [0.4, 0.0], [1.0, 0.0]]))


def test_images_may_have_channels():
    batch = torch.arange(2 * 3 * 4).reshape(2, 1, 3, 4)
    assert torch.equal(dataset.flatten(batch), dataset.flatten(batch[:, 0]))


@pytest.mark.parametrize("divided", [torch.rand(2, 3, 3), torch.rand(2, 3, 3).tolist(), torch.eye(3).double()[None]])
def test_what_is_divided_already_is_not_divided_again(divided):
    with pytest.raises(
        InputError, match=r"^images: expected grey levels from 0 to 255, got 0.* divided by 255 already"
    ):
        dataset.normalize(divided)


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 3), torch.eye(3, dtype=torch.uint8)[None], torch.eye(3)[None] * 255]
)
def test_dark_images_are_images(images):
    assert torch.equal(dataset.normalize(images), images.float() / 255)


def test_one_hot_has_a_single_1_in_each_column():
    Y = dataset.one_hot(torch.tensor([2, 0], dtype=torch.uint8), classes=3)
    assert Y.dtype == torch.float32
    assert Y.tolist() == [[0, 1], [0, 0], [1, 0]]


def test_the_train_pool_is_split_and_the_official_set_kept():
    arrays = dataset.preprocess(TRAIN, OFFICIAL)
    shapes = {name: tuple(array.shape) for name, array in arrays.items() if name[0] == "X"}
    assert shapes == {"X_train": (784, 64), "X_validation": (784, 16), "X_test": (784, 20), "X_official": (784, 30)}
    assert numbers(arrays, *SPLIT) == list(range(100))
    assert numbers(arrays, "official") == list(range(200, 230))
    for name, (X, Y) in dataset.sets(arrays).items():
        assert torch.equal(Y.argmax(0), (X[0] * 255).round().long() % 10), name


def test_the_pool_of_all_splits_both_and_leaves_no_official_set():
    arrays = dataset.preprocess(TRAIN, OFFICIAL, pool="all")
    assert tuple(dataset.sets(arrays)) == SPLIT
    assert numbers(arrays, *SPLIT) == [*range(100), *range(200, 230)]


def test_a_limit_takes_so_many_of_the_pool_and_of_the_official_set():
    arrays = dataset.preprocess(TRAIN, OFFICIAL, examples=25)
    assert len(numbers(arrays, *SPLIT)) == 25
    assert numbers(arrays, "official") == list(range(200, 225))
    assert len(numbers(dataset.preprocess(TRAIN, OFFICIAL, examples=50), "official")) == 30


def test_load_mnist_gives_the_sets_that_preprocessing_wrote(tmp_path, monkeypatch):
    arrays = dataset.preprocess(TRAIN, OFFICIAL)
    save_tensors(tmp_path / "data" / "processed" / "mnist.safetensors", arrays)
    monkeypatch.chdir(tmp_path)
    loaded = load_mnist()
    assert loaded.keys() == {*SPLIT, "official"}
    for name, (X, Y) in loaded.items():
        assert torch.equal(X, arrays[f"X_{name}"])
        assert torch.equal(Y, arrays[f"Y_{name}"])


def test_load_mnist_without_its_file_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected .*, got no such file; run `dvc repro preprocess`") as error:
        load_mnist()
    assert str(tmp_path / "data" / "processed" / "mnist.safetensors") in str(error.value)


def test_load_mnist_of_another_file_says_what_came(tmp_path):
    save_tensors(tmp_path / "model.safetensors", {"W1": torch.zeros(2), "b1": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"model\.safetensors: expected the study's sets .*, got W1, b1"):
        load_mnist(tmp_path / "model.safetensors")
    X, Y = torch.zeros(784, 4), torch.zeros(10, 4)
    for more, got in (
        ({"X_more": X.clone()}, "X_more, X_train, Y_train"),
        ({"Y_train": Y[:, :3]}, r"float32 \(784, 4\), float32 \(10, 3\)"),
        ({"X_train": X.int()}, "int32 .*"),
    ):
        save_tensors(tmp_path / "model.safetensors", {"X_train": X, "Y_train": Y} | more)
        with pytest.raises(ValueError, match=rf"model\.safetensors: .*expected .*, got {got}"):
            load_mnist(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="expected a file with the study's sets, got a folder"):
        load_mnist(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_mnist(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("mistake", "argument"),
    [
        *[
            (
                lambda name=name, value=value: dataset.split(
                    100, **{"test": 0.2, "validation": 0.2, name: value}, seed=0
                ),
                name,
            )
            for name in ("test", "validation")
            for value in (0, 1, -0.1, 1.5, float("nan"))
        ],
        (lambda: dataset.split(1, 0.2, 0.2, 0), "validation|test"),
        (lambda: dataset.split(2, 0.9, 0.2, 0), "train|validation"),
        (lambda: dataset.one_hot(torch.tensor([3, 10])), "labels: expected whole numbers from 0 to 9, got 10"),
        (lambda: dataset.one_hot(torch.tensor([-1])), "labels"),
        (lambda: dataset.one_hot([[3], [7]]), r"labels: expected \(m,\), got \(2, 1\); use numpy\.ravel\(labels\)"),
        (lambda: dataset.one_hot(["cat", "dog"]), r"labels: expected an array of numbers, got \['cat', 'dog'\]$"),
        (lambda: dataset.one_hot(["3", "7"]), r"labels: .*use numpy\.array\(labels\)\.astype\(int\)"),
        (lambda: dataset.one_hot(np.array(["3", "7"], object)), r"labels: .*use labels\.astype\(int\)"),
        (lambda: dataset.one_hot([]), r"labels: expected \(m,\), none of them 0, got \(0,\)$"),
        (
            lambda: dataset.flatten(torch.zeros(3, 4)),
            r"images: expected \(m, height, width\), got \(3, 4\); images\.T has",
        ),
        (lambda: dataset.normalize([[[300]]]), "images: expected grey levels from 0 to 255, got 300 to 300"),
        (lambda: dataset.preprocess(TRAIN, OFFICIAL, pool="test"), "pool"),
        (lambda: dataset.preprocess(TRAIN, OFFICIAL, examples=101), "examples"),
        (lambda: dataset.preprocess(TRAIN, OFFICIAL, examples=-1), "examples"),
    ],
)
def test_a_mistake_is_named(mistake, argument):
    with pytest.raises(ValueError, match=f"^({argument})"):
        mistake()


def test_seeds_that_torch_would_not_tell_apart_are_refused():
    assert dataset.split(9, 0.2, 0.2, 2**32 - 1)["train"].tolist() != dataset.split(9, 0.2, 0.2, 0)["train"].tolist()
    with pytest.raises(InputError, match=r"^seed: expected a number below 4294967296, got 4294967296$"):
        dataset.split(9, 0.2, 0.2, 2**32)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (
            np.ones((2, 3, 3), bool),
            r"images: expected grey levels from 0 to 255, got bool \(2, 3, 3\); use images \* 255",
        ),
        (np.ma.array(np.ones((1, 2, 2)), mask=np.eye(2)), r"images: expected an array without masked values, .*filled"),
    ],
)
def test_what_only_seems_to_be_grey_levels(images, expected):
    with pytest.raises(InputError, match=expected):
        dataset.normalize(images)
