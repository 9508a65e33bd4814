"""A folder of trained replicas, each under the hash of what decides its bits, so that none is trained twice.

    v2/ab/abcdef.../00100.safetensors    one replica after 100 epochs

The hash is of the seeds, the data, the device, the code that computes the bits, and the settings without the epochs. An
entry carries that hash and one of its contents; one that is not what it says is trained again. Entries appear whole, by
a rename, so that any number of processes may share a store.

Only the code that was imported may read and write: when its files change, the process goes on without the store.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nnlib.core.seeds import Seeds
from nnlib.core.settings import Settings
from nnlib.data.files import load_metadata, load_tensors, save_tensors
from nnlib.engine.run import Run
from nnlib.errors import InputError
from nnlib.records import what
from nnlib.source import ChangedCodeError, code_digest

# Entries of the first version may be of other code than they say.
VERSION = "v2"


class Entry(NamedTuple):
    """A file of the store, and what it says of itself."""

    path: Path
    size: int
    settings: Settings
    seeds: Seeds
    epoch: int


class Store:
    """The folder, made when the first replica is kept.

    Parameters
    ----------
    folder : of the store; ~ is the home directory
    say : called with a line when an entry is damaged or cannot be written; training goes on without it

    Raises
    ------
    InputError
        If it is no folder's name.
    """

    def __init__(self, folder: str | Path, say: Callable[[str], object] = print) -> None:
        if not isinstance(folder, str | Path) or not str(folder):
            raise InputError(f"store: expected a folder, got {what(folder)}")
        try:
            self.folder = Path(folder).expanduser() / VERSION
        except RuntimeError as error:  # there is no home directory for ~
            raise InputError(f"store: expected a folder, got {str(folder)!r} ({error})") from None
        self.say = say

    def shelf(self, data: Sequence[str], device: torch.device) -> Shelf:
        """The replicas trained on data of these digests on this kind of device."""
        return Shelf(self.folder, _once(self.say), tuple(data), device.type)

    def entries(self) -> Iterator[Entry]:
        """Every entry that can be read, in the order of the paths."""
        for path in sorted(self.folder.glob("*/*/*.safetensors")):
            try:
                about = json.loads(load_metadata(path)["about"])
                settings = Settings(epochs=int(path.stem), **about["settings"])
                yield Entry(path, path.stat().st_size, settings, Seeds(*about["seeds"]), int(path.stem))
            except (ValueError, KeyError, TypeError, OSError) as error:
                self.say(f"{path}: not a readable entry ({error})")


@dataclass(frozen=True)
class Shelf:
    """The part of a store that training on some data looks at."""

    folder: Path
    say: Callable[[str], object]
    data: tuple[str, ...]
    device: str

    def about(self, settings: Settings, seed: int | Seeds) -> dict[str, Any]:
        """All that decides a replica's bits but the epochs.

        Raises
        ------
        ChangedCodeError
            If the code has changed since it was imported: nothing is read or kept then under a key that may be wrong.
        """
        return {
            "settings": {name: value for name, value in settings.identity().record().items() if name != "epochs"},
            "seeds": Seeds.of(seed),
            "data": self.data,
            "device": self.device,
            "code": code_digest(),
        }

    def _folder(self, about: dict[str, Any]) -> tuple[str, Path]:
        key = hashlib.sha256(_text(about).encode()).hexdigest()
        return key, self.folder / key[:2] / key[:32]

    def longest(self, settings: Settings, seed: int | Seeds) -> Run | None:
        """The entry of the replica with the most epochs up to the settings'; one that is damaged is passed over."""
        try:
            key, folder = self._folder(self.about(settings, seed))
        except ChangedCodeError as error:
            self.say(f"store: not used ({error})")
            return None
        # Copies, and what systems leave beside files, have other names.
        paths = {int(path.stem): path for path in folder.glob("*.safetensors") if path.stem.isdecimal()}
        for epochs in sorted((epochs for epochs in paths if epochs <= settings.epochs), reverse=True):
            path = paths[epochs]
            try:
                tensors, metadata = in_layers(load_tensors(path)), load_metadata(path)
                run = Run.from_tensors(tensors)
                if (metadata.get("key"), metadata.get("sha256"), run.epoch) != (key, digest(tensors), epochs):
                    raise InputError("it is not what it says")
                return run
            except (ValueError, KeyError, OSError) as error:
                self.say(f"store: {path} is of no use, the replica is trained again ({error})")
        return None

    def keep(self, settings: Settings, seed: int | Seeds, run: Run) -> None:
        """Put in a run of one replica, unless it may be of other code than the key would say."""
        try:
            about, tensors = self.about(settings, seed), run.tensors()
            key, folder = self._folder(about)
            metadata = {"about": _text(about), "key": key, "sha256": digest(tensors)}
            save_tensors(folder / f"{run.epoch:05d}.safetensors", tensors, metadata)
        except ChangedCodeError as error:
            self.say(f"store: not used ({error})")
        except OSError as error:
            self.say(f"store: replicas are not kept ({error.strerror or error})")


def in_layers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors layer by layer, W1, b1, W2, ..., as training has them; a file has them by name."""
    layer = re.compile(r"\d+$")
    return dict(sorted(tensors.items(), key=lambda item: [int(number) for number in layer.findall(item[0])]))


def _once(say: Callable[[str], object]) -> Callable[[str], object]:
    """Fifty replicas with the same fault are one line."""
    said = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True)


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return found.hexdigest()
