"""MNIST's four files, checked against their SHA-256, in data/raw."""

import os
from typing import Any

from nnlib.data.mnist import download
from stages.paths import RAW
from stages.program import run


def main(params: Any) -> None:
    download(RAW, user_folder=os.environ.get("MNIST_DIR"))


if __name__ == "__main__":
    run(main)
