"""Files that are there whole or not at all, whatever happens while they are written."""

import errno
import json
import os
import signal

import pandas as pd
import pytest
import torch
from pipeline import run_program

from nnlib.data import files


@pytest.fixture
def old(tmp_path):
    """A file from an earlier run."""
    path = tmp_path / "result.json"
    path.write_text("old")
    return path


def left_as_it_was(old):
    return old.read_text() == "old" and list(old.parent.iterdir()) == [old]


def test_a_whole_file_takes_the_place_of_the_old_one_and_makes_its_folder(old, tmp_path):
    for path in (old, tmp_path / "new" / "folder" / "result.json"):
        with files.written_whole(path) as partial:
            partial.write_text("new")
            assert path != partial
        assert path.read_text() == "new"
        assert list(path.parent.glob(".*")) == []
        assert path.stat().st_mode & 0o777 == 0o644


def fail_inside(path):
    with files.written_whole(path) as partial:
        partial.write_text("half of")
        raise KeyboardInterrupt


def run_out_of_space(path, monkeypatch):
    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    files.write_text(path, "new")


def test_a_failure_leaves_the_old_file(old):
    with pytest.raises(KeyboardInterrupt):
        fail_inside(old)
    assert left_as_it_was(old)


def test_a_full_disk_leaves_the_old_file(old, monkeypatch):
    with pytest.raises(OSError, match="No space left"):
        run_out_of_space(old, monkeypatch)
    assert left_as_it_was(old)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_the_old_file_and_no_finished_new_one(old, tmp_path, tmp_path_factory, quick_python):
    program = f"""
import os, signal
from nnlib.data.files import written_whole
with written_whole({str(tmp_path / "new.json")!r}), written_whole({str(old)!r}) as partial:
    partial.write_text("half of")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = run_program(tmp_path_factory.mktemp("program"), program)
    assert killed.returncode == -signal.SIGKILL
    assert old.read_text() == "old"
    assert not (tmp_path / "new.json").exists()
    assert all(path == old or path.suffix == ".part" for path in tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number(old, value):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(old, {"cost": value})
    assert left_as_it_was(old)


def test_json_keeps_order_exact_floats_and_accents(tmp_path):
    record = {"z": 0.1 + 0.2, "a": None, "é": [1]}
    files.write_json(tmp_path / "a.json", record)
    assert list(files.read_json(tmp_path / "a.json").items()) == list(record.items())
    assert (tmp_path / "a.json").read_bytes().endswith('  "é": [\n    1\n  ]\n}\n'.encode())


def test_csv_has_eight_digits_and_empty_fields_for_what_is_missing(tmp_path):
    files.write_csv(tmp_path / "a.csv", pd.DataFrame({"run": ["a", "b"], "cost": [1 / 3, None]}))
    assert (tmp_path / "a.csv").read_bytes() == b"run,cost\na,0.33333333\nb,\n"


TENSORS = {"W": torch.arange(6.0).view(2, 3).T, "seeds": torch.tensor([1, 2]), "empty": torch.empty(0, 3)}


def test_tensors_and_their_metadata_come_back(tmp_path):
    path = tmp_path / "model.safetensors"
    files.save_tensors(path, TENSORS, {"fingerprint": "é1"})
    loaded = files.load_tensors(path)
    assert loaded.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
    assert files.load_metadata(path) == {"fingerprint": "é1"}
    files.save_tensors(path, TENSORS)
    assert files.load_metadata(path) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:5],
        lambda whole: whole[:40],
        lambda whole: whole[:-1],
        lambda whole: whole + b"more",
        lambda whole: b"\xff" * len(whole),
        lambda whole: whole.replace(b"F32", b"F99"),
    ],
    ids=["empty", "no header", "half a header", "cut off", "too long", "garbage", "unknown type"],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    files.save_tensors(path, TENSORS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        files.load_tensors(path)


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.load_tensors(tmp_path / "none.safetensors")


def test_json_that_is_written_is_what_json_reads(tmp_path):
    files.write_json(tmp_path / "a.json", {"mean": 0.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"mean": 0.5}
