"""A folder of trained replicas, each under the hash of what decides its bits, so that none is trained twice.

    VERSION                     of the layout
    ab/abcdef.../00100.safetensors    one replica after 100 epochs

The hash is of the settings without the epochs, the seed, the data, the device, and the source of the modules that
compute the bits. An entry carries that hash and one of its contents; one that is not what it says is trained again.
Entries appear whole, by a rename, so that any number of processes may share a store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nnlib
from nnlib.data.files import load_metadata, load_tensors, save_tensors, write_text
from nnlib.engine.run import Run, Settings
from nnlib.errors import InputError

VERSION = "1"
# What computes a replica's bits; a test holds the list to the modules that training imports.
SOURCES = {
    "cpu": ("engine/compiled.py", "engine/functions.py", "engine/layout.py", "engine/kernel.py", "engine/simd.py"),
    "cuda": ("engine/batched.py",),
}
SHARED = ("engine/run.py", "core/layers.py", "core/model.py", "core/seeds.py", "core/training.py")


@dataclass(frozen=True)
class Entry:
    """A file of the store, and what it says of itself."""

    path: Path
    size: int
    settings: dict[str, Any]
    seed: int
    epoch: int
    source: str


class Store:
    """The folder, made if need be.

    Parameters
    ----------
    folder : of the store
    say : called with a line when an entry is damaged or cannot be written; training goes on without it

    Raises
    ------
    ValueError
        If the folder has no name, or is a store of another version.
    """

    def __init__(self, folder: str | Path, say: Callable[[str], object] = print) -> None:
        if not str(folder):
            raise InputError("store: expected a folder, got ''")
        self.folder, self.say = Path(folder), say
        version = self.folder / "VERSION"
        if version.exists():
            found = version.read_text(encoding="utf-8", errors="replace").strip()
            if found != VERSION:
                raise InputError(
                    f"store: expected version {VERSION} in {self.folder}, got {found!r}; move that folder away or "
                    "remove it"
                )
        else:
            write_text(version, VERSION + "\n")

    def shelf(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], device: torch.device) -> Shelf:
        """The replicas trained on these data on this kind of device."""
        digest = hashlib.sha256()
        for array in (*train, *validation):
            digest.update(f"{array.dtype} {tuple(array.shape)}".encode())
            digest.update(array.contiguous().numpy().data)
        return Shelf(self, digest.hexdigest(), device.type, source(device.type))

    def entries(self) -> Iterator[Entry]:
        """Every entry that can be read, in the order of the paths."""
        for path in sorted(self.folder.glob("*/*/*.safetensors")):
            try:
                about = json.loads(load_metadata(path)["about"])
                yield Entry(
                    path, path.stat().st_size, about["settings"], about["seed"], int(path.stem), about["source"]
                )
            except (ValueError, KeyError, OSError) as error:
                self.say(f"{path}: not a readable entry ({error})")


@dataclass(frozen=True)
class Shelf:
    """The part of a store that training on some data looks at."""

    store: Store
    data: str
    device: str
    source: str

    def about(self, settings: Settings, seed: int) -> dict[str, Any]:
        """All that decides a replica's bits but its length."""
        values = settings.record()
        del values["epochs"]
        return {"settings": values, "seed": seed, "data": self.data, "device": self.device, "source": self.source}

    def _folder(self, about: dict[str, Any]) -> tuple[str, Path]:
        key = hashlib.sha256(_text(about).encode()).hexdigest()
        return key, self.store.folder / key[:2] / key[:32]

    def longest(self, settings: Settings, seed: int) -> Run | None:
        """The entry of the replica with the most epochs up to the settings'; one that is damaged is passed over."""
        key, folder = self._folder(self.about(settings, seed))
        # What has other names, copies and what systems leave beside files, is none of the store's.
        paths = (path for path in folder.glob("*.safetensors") if path.stem.isdecimal())
        for path in sorted((path for path in paths if int(path.stem) <= settings.epochs), reverse=True):
            try:
                tensors, metadata = load_tensors(path), load_metadata(path)
                run = Run.from_tensors(tensors)
                if (metadata.get("key"), metadata.get("sha256"), run.epoch) != (key, digest(tensors), int(path.stem)):
                    raise InputError("it is not what it says")
                return run
            except (ValueError, KeyError, OSError) as error:
                self.store.say(f"store: {path} is of no use, the replica is trained again ({error})")
        return None

    def keep(self, settings: Settings, seed: int, run: Run) -> None:
        """Put in a run of one replica."""
        about = self.about(settings, seed)
        key, folder = self._folder(about)
        tensors = run.tensors()
        metadata = {"about": _text(about), "key": key, "sha256": digest(tensors)}
        try:
            save_tensors(folder / f"{run.epoch:05d}.safetensors", tensors, metadata)
        except OSError as error:
            self.store.say(f"store: a replica is not kept ({error})")


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True)


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return found.hexdigest()


@cache
def source(device: str) -> str:
    """SHA-256 of the modules that compute the bits on this kind of device."""
    folder = Path(nnlib.__file__).parent
    found = hashlib.sha256()
    for name in sorted(SOURCES[device] + SHARED):
        found.update(f"{name}\n".encode() + (folder / name).read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()
