"""From images to arrays: normalize, flatten, one-hot, split. Arrays are features × examples, as in the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor

from nnlib.arrays import ArrayLike, tensor
from nnlib.data.catalogue import split_sizes
from nnlib.data.files import load_tensors
from nnlib.errors import InputError
from nnlib.records import Count, Fraction, NotNegativeInt, SplitSeed, checked, what
from nnlib.validation import choose, naming, pair

CLASSES = 10
POOLS = {"train": "the training images", "all": "those of both sets"}

Dataset = dict[str, Tensor]


def normalize(images: ArrayLike) -> Tensor:
    """Grey levels 0 to 255 as float32 from 0 to 1: X / 255.

    Raises
    ------
    InputError
        If there are none, they are no grey levels, or they seem to be divided by 255 already.
    """
    return grey_levels("images", images).to(torch.float32, copy=True).div_(255)


def grey_levels(name: str, images: ArrayLike) -> Tensor:
    """The images as a tensor, if their numbers are from 0 to 255, not yet divided by 255."""
    images = numbers(name, images)
    if images.dtype == torch.bool:
        raise InputError(f"{name}: expected grey levels from 0 to 255, got {what(images)}; use {name} * 255")
    lowest, highest = (extreme.item() for extreme in images.aminmax())
    divided = images.is_floating_point() and 0 < highest <= 1
    if not (lowest >= 0 and highest <= 255) or divided:
        end = ", which seem to be divided by 255 already; use them as they are" if divided else ""
        raise InputError(f"{name}: expected grey levels from 0 to 255, got {lowest:g} to {highest:g}{end}")
    return images


def flatten(images: ArrayLike) -> Tensor:
    """(m, height, width) → (height · width, m), each image a column, row by row; so, too, with an axis of channels.

    Raises
    ------
    InputError
        If there are none, or they have fewer axes.
    """
    images = numbers("images", images)
    if images.ndim < 3:
        end = "; images.T has each image as a column" if images.ndim == 2 else ""
        raise InputError(f"images: expected (m, height, width), got {tuple(images.shape)}{end}")
    return images.flatten(1).T.contiguous()


def one_hot(labels: ArrayLike, classes: int = CLASSES) -> Tensor:
    """(m,) whole numbers → (classes, m) float32, a single 1 in each column.

    Raises
    ------
    InputError
        If there are none, or a label is not one of 0 to classes − 1.
    """
    classes = checked("classes", classes, Count)
    values = numbers("labels", labels, "m").double()
    outside = values[~((values >= 0) & (values < classes) & (values == values.round()))]
    if len(outside):
        raise InputError(f"labels: expected whole numbers from 0 to {classes - 1}, got {outside[0]:g}")
    return torch.nn.functional.one_hot(values.to(torch.int64), classes).T.to(torch.float32).contiguous()


def numbers(name: str, values: ArrayLike, *axes: str) -> Tensor:
    """The values as a tensor, if there are any, and as many axes as are named."""
    values = tensor(name, values)
    if not values.numel() or (axes and values.ndim != len(axes)):
        empty = "" if values.numel() else ", none of them 0"
        expected = f"{axes}".replace("'", "") + empty if axes else "one or more numbers"
        column = len(axes) == 1 and 0 < values.numel() == max(values.shape, default=0)
        end = f"; use numpy.ravel({name})" if column else ""
        raise InputError(f"{name}: expected {expected}, got {tuple(values.shape)}{end}")
    return values


def split(examples: int, test: float, validation: float, seed: int) -> dict[str, Tensor]:
    """A random split, as the study made it: first the test set, then the validation set from what is left.

    Parameters
    ----------
    examples : how many there are
    test, validation : fractions, of all examples and of those that the test set leaves

    Returns
    -------
    Indices "train", "validation", "test": no example in two of them, every example in one.

    Raises
    ------
    InputError
        If a fraction is not between 0 and 1, or a set would be empty.
    """
    examples = checked("examples", examples, NotNegativeInt)
    test, validation = checked("test", test, Fraction), checked("validation", validation, Fraction)
    sizes = split_sizes(examples, test, validation)
    parts = _order(examples, seed).split(list(sizes))
    names = ("train", "validation", "test")
    for name, part in zip(names, parts, strict=True):
        if not len(part):
            raise InputError(f"{name}: the split leaves it no example out of {examples}")
    return dict(zip(names, parts, strict=True))


def _order(examples: int, seed: int) -> Tensor:
    generator = Generator("cpu").manual_seed(checked("seed", seed, SplitSeed))
    return torch.randperm(examples, generator=generator, device="cpu")


def preprocess(
    train: tuple[ArrayLike, ArrayLike],
    official: tuple[ArrayLike, ArrayLike],
    *,
    pool: str = "train",
    examples: int = 0,
    test: float = 0.2,
    validation: float = 0.2,
    seed: int = 0,
    classes: int = CLASSES,
) -> Dataset:
    """The study's three sets, and the official test set beside them.

    Parameters
    ----------
    train, official : (images, labels) of the training and of the official test set; uint8
    pool : "train" splits the training images, as the study did; "all" splits both sets together, and then there is no
        official set left that training has not seen
    examples : take only so many of the pool, and at most as many of the official set; 0 takes all
    test, validation, seed : of the `split`
    classes : how many there are

    Returns
    -------
    X_train (pixels, m), Y_train (classes, m), and so validation, test and, with pool "train", official; float32.

    Raises
    ------
    InputError
        If an argument does not fit, with its name. Images are (m, height, width), all of one size; labels are (m,), 0
        to classes − 1, one for each image.
    """
    choose(POOLS, pool, "pool")
    examples = checked("examples", examples, NotNegativeInt)
    images, labels = images_and_labels("train", train, classes)
    official_images, official_labels = images_and_labels("official", official, classes)
    if images.shape[1:] != official_images.shape[1:]:
        raise InputError(
            f"official: expected images {(*images.shape[1:],)} as in train, got {(*official_images.shape[1:],)}"
        )
    if pool == "all":
        images, labels = torch.cat([images, official_images]), torch.cat([labels, official_labels])
    if not 0 <= examples <= len(images):
        raise InputError(f"examples: expected 0 (all) to {len(images)}, got {examples}")
    limit = examples or len(images)
    sets = {name: (images[part], labels[part]) for name, part in split(limit, test, validation, seed).items()}
    if pool == "train":
        sets["official"] = (official_images[:limit], official_labels[:limit])
    return {
        name: array
        for key, (pixels, labels) in sets.items()
        for name, array in ((f"X_{key}", normalize(flatten(pixels))), (f"Y_{key}", one_hot(labels, classes)))
    }


def report_sets(
    train: tuple[Tensor, Tensor],
    official: tuple[Tensor, Tensor],
    training: int,
    validation: int,
    *,
    test: int = 0,
    seed: int = 0,
    classes: int = CLASSES,
) -> dict[str, tuple[Tensor, Tensor]]:
    """(X, Y) of "train" and "validation" from the training images, in a random order, and of the official "test" set.

    Parameters
    ----------
    train, official : (images, labels) as in `preprocess`
    training, validation : how many images of each
    test : of the test set the first so many; 0 takes all
    seed : of the order
    classes : how many there are

    Returns
    -------
    X (pixels, m), grey levels from 0 to 1, and Y (classes, m), one-hot, of each set; float32

    Raises
    ------
    InputError
        If a set is not images with one label each, or there are fewer training images than are asked for.
    """
    images, labels = images_and_labels("train", train, classes)
    official = images_and_labels("official", official, classes)
    if training + validation > len(images):
        raise InputError(
            f"training, validation: expected at most {len(images)} images together, got {training} and {validation}"
        )
    order = _order(len(images), seed)
    first, second = order[:training], order[training : training + validation]
    tests = test or len(official[0])
    parts = {
        "train": (images[first], labels[first]),
        "validation": (images[second], labels[second]),
        "test": (official[0][:tests], official[1][:tests]),
    }
    return {name: (normalize(flatten(pixels)), one_hot(labels, classes)) for name, (pixels, labels) in parts.items()}


def images_and_labels(name: str, both: tuple[ArrayLike, ArrayLike], classes: int) -> tuple[Tensor, Tensor]:
    """Both as tensors, if they are images and as many labels."""
    with naming(name):
        images, labels = pair(both, "images, labels")
        images = numbers("images", grey_levels("images", images), "m", "height", "width")
        labels = numbers("labels", labels, "m")
        if labels.shape != images.shape[:1]:
            raise InputError(f"labels: expected ({len(images)},), one for each image, got {tuple(labels.shape)}")
        one_hot(labels, classes)
    return images, labels


def sets(dataset: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """The arrays of `preprocess` as (X, Y) for each set, by name."""
    return {name[2:]: (dataset[name], dataset[f"Y_{name[2:]}"]) for name in dataset if name.startswith("X_")}


def load_mnist(path: str | Path = "data/processed/mnist.safetensors") -> dict[str, tuple[Tensor, Tensor]]:
    """The study's sets from the file that its preprocessing writes: `X, Y = load_mnist()["train"]`.

    Returns
    -------
    (X, Y) of "train", "validation", "test" and, with pool "train", "official": X (784, m), grey levels from 0 to 1, and
    Y (10, m), one-hot; float32.

    Raises
    ------
    FileNotFoundError
        If the file is not there; the message says what to run.
    InputError
        If the file is damaged or holds something else.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected the study's sets, got no such file; run `dvc repro preprocess`")
    if path.is_dir():
        raise InputError(f"{path}: expected a file with the study's sets, got a folder")
    tensors = load_tensors(path)
    names = {name[2:] for name in tensors}
    if "train" not in names or tensors.keys() != {f"{letter}_{name}" for name in names for letter in "XY"}:
        raise InputError(f"{path}: expected the study's sets (X_train, Y_train, ...), got {', '.join(sorted(tensors))}")
    found = sets(tensors)
    for name, both in found.items():
        shapes = [tuple(array.shape) for array in both]
        if {array.dtype for array in both} != {torch.float32} or shapes != [(784, shapes[1][-1]), (10, shapes[0][-1])]:
            raise InputError(
                f"{path}: {name}: expected float32 (784, m) and (10, m), got {what(both[0])}, {what(both[1])}"
            )
    return found
