"""What L2 does to the weights: without against with it, replica by replica."""

from nnlib import Run
from nnlib.data.files import load_tensors, save_tensors, write_csv
from nnlib.evidence.inspection import mean_differences, weight_differences
from stages.parameters import Parameters
from stages.paths import MODELS, WEIGHT_DIFFERENCES, WEIGHT_TABLE
from stages.program import run
from stages.studies import load_study


def main(params: Parameters) -> None:
    cells = load_study().four
    without, with_l2 = (
        Run.from_tensors(load_tensors(MODELS / f"{name}.safetensors")) for name in (cells.none, cells.l2)
    )
    differences = weight_differences(without, with_l2)
    write_csv(WEIGHT_TABLE, mean_differences(differences))
    save_tensors(WEIGHT_DIFFERENCES, differences)


if __name__ == "__main__":
    run(main)
