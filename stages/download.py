"""The data set's four files, checked against their SHA-256, in data/raw."""

import os

from nnlib.data.raw import download
from stages.parameters import Parameters
from stages.paths import RAW
from stages.program import run


def main(params: Parameters) -> None:
    download(RAW, params.dataset, user_folder=os.environ.get("MNIST_DIR"))


if __name__ == "__main__":
    run(main)
