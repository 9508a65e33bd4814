"""One of the study's four experiments, or a variant of it: batch norm on or off, an L2 strength, a backward rule."""

from typing import Any

from nnlib import Settings
from stages.common import common_settings, run
from stages.training import train_and_write


def main(params: Any, name: str, batchnorm: str, l2: str, batchnorm_rule: str) -> None:
    settings = Settings(
        **common_settings(params),
        batch_size=params.batch_size,
        epochs=params.epochs,
        use_batchnorm={"true": True, "false": False}[batchnorm.lower()],
        L2=float(l2),
        batchnorm_rule=batchnorm_rule,
    )
    train_and_write(params, f"experiment-{name}", settings)


if __name__ == "__main__":
    run(main)
