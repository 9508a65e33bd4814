"""Normalized, flattened, one-hot arrays, split into train, validation and test, in data/processed."""

from typing import Any

from nnlib.data.dataset import preprocess, sets
from nnlib.data.files import save_tensors
from nnlib.data.mnist import load_raw
from stages.paths import DATASET, RAW
from stages.program import run


def main(params: Any) -> None:
    raw = load_raw(RAW)
    dataset = preprocess(
        (raw.train_images, raw.train_labels), (raw.test_images, raw.test_labels), **params.preprocess.model_dump()
    )
    save_tensors(DATASET, dataset)
    for name, (X, _) in sets(dataset).items():
        print(f"{name}: {X.shape[1]:,} images")


if __name__ == "__main__":
    run(main)
