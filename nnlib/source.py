"""A digest of the code that decides a network's bits: the syntax trees of nnlib/core and nnlib/engine.

Docstrings, comments and layout are left out of it: after a change of wording no network is trained again.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnlib.errors import InputError

FOLDERS = ("core", "engine")
HERE = Path(__file__).parent


class ChangedCodeError(InputError):
    """The code on the disk may not be the code that this process computes with."""


def _times() -> dict[str, tuple[int, ...]]:
    """Each file's times of change, which differ even after a change that was undone, and its size."""
    found = {path.relative_to(HERE): path for folder in FOLDERS for path in sorted((HERE / folder).rglob("*.py"))}
    # Hidden ones are not code: what editors, notebooks and file systems put beside it.
    code = {name: path.stat() for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for name, stat in code.items()}


# nnlib imports this module first. As long as no file changes, what is imported later is of the same code. What was read
# first stays when this module is reloaded, since the others are not.
TIMES: dict[str, tuple[int, ...]] = globals().get("TIMES") or _times()
SOURCES: dict[str, bytes] = globals().get("SOURCES") or {name: (HERE / name).read_bytes() for name in TIMES}


@cache
def _imported() -> str:
    return digest(SOURCES)


def changed_files() -> list[str]:
    """The files that have changed since nnlib was imported."""
    now = _times()
    return sorted(name for name in TIMES | now if TIMES.get(name) != now.get(name))


def code_digest() -> str:
    """SHA-256 of the code that decides bits.

    Raises
    ------
    ChangedCodeError
        If a file has changed since nnlib was imported, so that nobody knows which code this process computes with.
    """
    if changed := changed_files():
        raise ChangedCodeError(
            f"nnlib: {', '.join(changed)} changed after nnlib was imported; start the program, or the notebook's "
            "kernel, anew"
        )
    return _imported()


def digest(sources: Mapping[str, bytes]) -> str:
    """SHA-256 of modules by name: of their syntax trees, without docstrings."""
    trees = {name: _plain(_without_docstrings(ast.parse(content))) for name, content in sources.items()}
    return hashlib.sha256(repr(trees).encode()).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str())), *rest]:
                    node.body = rest
    return tree


def _plain(node: Any) -> Any:
    """A syntax tree as lists, without what is empty: Python's own forms of it differ from version to version."""
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if value not in (None, [])}
        return [type(node).__name__, fields]
    return [_plain(part) for part in node] if isinstance(node, list) else node


def versions() -> dict[str, str]:
    """What has to agree between machines for the same bits."""
    return {"nnlib": code_digest()[:12], "numba": version("numba"), "numpy": version("numpy")}


def check_versions(expected: Mapping[str, str]) -> None:
    """Raise an InputError if this process has other versions."""
    if versions() != expected:
        raise InputError(f"versions: expected {expected}, got {versions()}")
