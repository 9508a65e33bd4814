"""Files that are there whole or not at all: tensors without pickle, JSON and CSV with the same bytes every time."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from nnlib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd  # 0.1 s that a training stage need not wait for


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give the block a temporary path beside `path`; rename it to `path` when the block ends well.

    If the block fails, or the process is killed inside it, `path` is as it was before. The rename is atomic on one
    file system, and the data are on the disk before it happens.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON: two spaces, the order of its keys kept, floats as short as they read back exactly.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, which JSON cannot hold: use None for what is not there.
    """
    write_text(path, json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    ValueError
        If the file is not JSON in UTF-8.
    FileNotFoundError
        If it is missing.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table without its index; floats with eight significant digits, missing values empty."""
    write_text(path, table.to_csv(index=False, float_format="%.8g", lineterminator="\n"))


def save_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors (any device) as safetensors, a format that loads without running code."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as partial:
        partial.write_bytes(save(contiguous, dict(metadata) if metadata else None))


def load_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read what `save_tensors` wrote.

    Raises
    ------
    InputError
        If the file is damaged; the message names it and says what to do.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def load_metadata(path: str | Path) -> dict[str, str]:
    """The text that `save_tensors` stored beside the tensors; an InputError as in `load_tensors`."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _damaged(path: str | Path, error: SafetensorError) -> InputError:
    return InputError(
        f"{path} is damaged or no safetensors file ({error}); delete it, if the pipeline made it, and run `dvc repro`"
    )
