"""Which code computes: the sources of the folders that decide a network's bits, without what decides none.

Docstrings, comments and layout are left out of the hash: a better sentence trains nothing anew.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from nnlib.errors import InputError

FOLDERS = ("core", "engine")


def _sources() -> dict[str, bytes]:
    here = Path(__file__).parent
    return {
        path.relative_to(here).as_posix(): path.read_bytes().replace(b"\r\n", b"\n")
        for folder in FOLDERS
        for path in sorted((here / folder).rglob("*.py"))
    }


# As the files are when nnlib is imported: what is imported of them later is the same code, or `code_digest` refuses it.
IMPORTED = _sources()


class ChangedCodeError(InputError):
    """The code on the disk is not the code that this process computes with."""


def code_digest() -> str:
    """SHA-256 of the code that decides bits.

    Raises
    ------
    ChangedCodeError
        If a file has changed since nnlib was imported, so that nobody knows which code this process computes with.
    """
    now = _sources()
    changed = sorted(name for name in IMPORTED | now if IMPORTED.get(name) != now.get(name))
    if changed:
        raise ChangedCodeError(
            f"nnlib: {', '.join(changed)} changed after nnlib was imported; start the program (or the notebook's kernel) "
            "anew"
        )
    return _digest()


@cache
def _digest() -> str:
    found = hashlib.sha256()
    for name, content in IMPORTED.items():
        found.update(f"{name}\n{_without_words(content)}\n".encode())
    return found.hexdigest()


def _without_words(content: bytes) -> str:
    """A module's code in a form of its own: no docstrings, comments or layout."""
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
