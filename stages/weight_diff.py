"""What L2 does to the weights: experiment 1 (without) against experiment 3 (with), replica by replica."""

from nnlib import Run
from nnlib.data.files import load_tensors, save_tensors, write_csv
from nnlib.evidence.inspection import weight_table
from stages.common import MODELS, WEIGHT_DIFFERENCES, WEIGHT_TABLE, run
from stages.parameters import Parameters


def main(params: Parameters) -> None:
    without, with_l2 = (
        Run.from_tensors(load_tensors(MODELS / name / f"{name}.safetensors"))
        for name in ("experiment-1", "experiment-3")
    )
    write_csv(WEIGHT_TABLE, weight_table(without, with_l2))
    differences = {name: W - with_l2.parameters[name] for name, W in without.parameters.items() if name[0] == "W"}
    save_tensors(WEIGHT_DIFFERENCES, differences)


if __name__ == "__main__":
    run(main)
