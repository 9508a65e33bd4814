"""The definitions of a script or a notebook, without what it trains, reads, prints and plots."""

import __future__

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nnlib.errors import InputError

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Try)
# A line that only a notebook understands: %timeit f(), files = !ls, np.maximum?
MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[\w, ]+=\s*[%!].*|.*\?\s*)$", re.MULTILINE)
# What a constant may be computed with.
HARMLESS = {
    *("finfo", "float32", "float64", "sqrt", "exp", "log", "array", "tensor", "eye", "zeros", "ones", "arange"),
    *("device", "is_available", "seed", "manual_seed", "default_rng", "float", "int", "len", "range", "list", "dict"),
    "partial",
}

# Names that NumPy 2 no longer has, which the formulas of older solutions need.
OLD = {"Inf": np.inf, "infty": np.inf, "NaN": np.nan, "float_": np.float64, "float": float, "int": int}


class Absent:
    """Stands for what cannot be imported, and raises the reason when it is used."""

    def __init__(self, error: ImportError) -> None:
        self.__dict__["error"] = error

    def __getattr__(self, name: str) -> Any:
        raise ImportError(str(self.__dict__["error"]))

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        raise ImportError(str(self.__dict__["error"]))


def statements(file: Path) -> tuple[list[ast.stmt], list[str]]:
    """The statements of a script, or of all cells of a notebook without what only a notebook understands; and what is
    wrong with the cells that are no Python.

    Raises
    ------
    InputError
        If the file cannot be read; the message names it.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix != ".ipynb":
            return ast.parse(text).body, []
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file.name}: expected a script or a notebook, got one that cannot be read: {error}"
        ) from None
    found, unread = [], []
    for number, cell in enumerate(cells, start=1):
        for code in (cell, re.sub(MAGIC, r"\1pass", cell)):
            with suppress(SyntaxError, ValueError):
                found += ast.parse(code).body
                break
        else:
            first = cell.strip().split("\n")[0]
            if not first.startswith("%%"):  # such a cell is of another language, or a file
                unread.append(f"{file.name}, code cell {number}, which begins with {first[:60]!r}")
    return found, unread


def definitions(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Imports, functions, classes and constants."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            node.body = [*definitions(node.body), ast.copy_location(ast.Pass(), node)]
            node.orelse = [*definitions(node.orelse)]
        value = getattr(node, "value", getattr(node, "test", ast.Pass()))
        called = calls(value or ast.Pass())
        if isinstance(node, DEFINITIONS) and all(ast.unparse(one).split(".")[-1] in HARMLESS for one in called):
            yield node


def calls(node: ast.AST) -> Iterator[ast.expr]:
    """What is called when a statement runs: not what a lambda would call."""
    if isinstance(node, ast.Call):
        yield node.func
    if not isinstance(node, ast.Lambda):
        for part in ast.iter_child_nodes(node):
            yield from calls(part)


class Definitions(SourceFileLoader):
    """Runs a module's definitions; what fails, such as the import of what is not installed, is passed over."""

    def exec_module(self, module: ModuleType) -> None:
        for node in definitions(statements(Path(self.path))[0]):
            # Annotations stay text: what they name may not be there.
            code = compile(ast.Module([node], []), self.path, "exec", __future__.annotations.compiler_flag)
            try:
                exec(code, vars(module))
            except ImportError as error:
                for one in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                    vars(module).setdefault(one.asname or one.name.split(".")[0], Absent(error))
            except (Exception, SystemExit):
                pass


def load(files: Sequence[Path]) -> dict[str, Any]:
    """The names that the files define, and what they import from each other and from their folders."""
    names: dict[str, Any] = {}
    for name, value in OLD.items():
        if name not in vars(np):
            setattr(np, name, value)
    for folder in {str(file.parent) for file in files}:
        sys.path.insert(0, folder)
        sys.path_importer_cache[folder] = FileFinder(folder, (Definitions, [".py"]))
    for file in files:
        module = sys.modules.get(file.stem)
        if getattr(module, "__file__", None) != str(file):
            loader = Definitions(file.stem, str(file))
            module = sys.modules[file.stem] = module_from_spec(ModuleSpec(file.stem, loader, origin=str(file)))
            module.__file__ = str(file)
            loader.exec_module(module)
        found = vars(module).items()
        names |= {name: value for name, value in found if name not in names or not isinstance(value, Absent)}
    return names
