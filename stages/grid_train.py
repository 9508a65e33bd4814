"""One cell of the grid: all replicas at one batch size, number of epochs and L2 strength."""

from typing import Any

from nnlib import Settings
from stages.common import MODELS, common_settings, run
from stages.training import train_and_write


def main(params: Any, batch_size: str, epochs: str, l2: str) -> None:
    settings = Settings(
        **common_settings(params),
        batch_size=int(batch_size),
        epochs=int(epochs),
        L2=float(l2),
    )
    # A cell with fewer epochs is the beginning of this one's run, so nothing is trained twice.
    cells = MODELS.glob(f"grid-b{batch_size}-e*-l{l2}.safetensors")
    shorter = [path for path in cells if int(path.name.split("-e")[1].split("-")[0]) < settings.epochs]
    train_and_write(params, f"grid-b{batch_size}-e{epochs}-l{l2}", settings, shorter)


if __name__ == "__main__":
    run(main)
