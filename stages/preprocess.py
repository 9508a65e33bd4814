"""Normalized, flattened, one-hot arrays, split into train, validation and test, in data/processed."""

from nnlib.data.dataset import preprocess, sets
from nnlib.data.files import save_tensors
from nnlib.data.raw import load_raw
from stages.parameters import Parameters
from stages.paths import DATASET, RAW
from stages.program import run


def main(params: Parameters) -> None:
    images = load_raw(RAW, params.dataset)
    arrays = preprocess(*images, **params.preprocess.model_dump(), classes=params.dataset.classes)
    save_tensors(DATASET, arrays)
    for name, (X, _) in sets(arrays).items():
        print(f"{name}: {X.shape[1]:,} images")


if __name__ == "__main__":
    run(main)
