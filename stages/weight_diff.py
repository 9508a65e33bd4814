"""What L2 does to the weights: experiment 1 (without) against experiment 3 (with), replica by replica."""

from typing import Any

from nnlib import Run
from nnlib.data.files import load_tensors, save_tensors, write_csv, write_json
from nnlib.evidence.inspection import weight_table
from nnlib.evidence.statistics import mean_interval
from stages.common import MODELS, WEIGHT_DIFFERENCES, WEIGHT_TABLE, run


def main(params: Any) -> None:
    without, with_l2 = (Run.from_tensors(load_tensors(MODELS / f"experiment-{name}.safetensors")) for name in "13")
    table = weight_table(without, with_l2)
    write_csv(WEIGHT_TABLE, table)
    write_json(
        WEIGHT_TABLE.with_suffix(".json"),
        {
            str(layer): {str(name): mean_interval(values[name].to_numpy()).record() for name in values.columns[2:]}
            for layer, values in table.groupby("layer")
        },
    )
    differences = {name: W - with_l2.parameters[name] for name, W in without.parameters.items() if name[0] == "W"}
    save_tensors(WEIGHT_DIFFERENCES, differences)


if __name__ == "__main__":
    run(main)
