"""The project's source as syntax trees: which definitions another one reaches, without running anything."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from pipeline import REPOSITORY


class Definition(NamedTuple):
    """A name at the top of a module; the name "" stands for all that has none: loops, calls."""

    module: str
    name: str


def modules() -> set[str]:
    """Every module of the project by its path."""
    found = (path.relative_to(REPOSITORY) for top in ("nnlib", "stages") for path in (REPOSITORY / top).rglob("*.py"))
    return {path.as_posix() for path in found}


def path_of(dotted: str) -> str | None:
    """The path of a module or package, None if it is not the project's."""
    path = dotted.replace(".", "/")
    return next((one for one in (f"{path}.py", f"{path}/__init__.py") if one in modules()), None)


@cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """The statements at the top of a module by the name that they define; not what only the main program runs."""
    found: dict[str, list[ast.stmt]] = {"": []}
    for statement in ast.parse((REPOSITORY / module).read_text(encoding="utf-8")).body:
        main_only = isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"
        for name in [] if main_only else names_of(statement):
            found.setdefault(name, []).append(statement)
    return found


def names_of(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return []
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
    names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return names if isinstance(statement, ast.Assign | ast.AnnAssign) else [""]


def imports(code: ast.AST) -> dict[str, Definition]:
    """What each imported name stands for, followed through packages to where it is defined; a module's is "*"."""
    found = {}
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and node.module and path_of(node.module):
            found |= {alias.asname or alias.name: origin(node.module, alias.name) for alias in node.names}
    return found


def origin(dotted: str, name: str) -> Definition:
    module, inside = path_of(dotted), path_of(f"{dotted}.{name}")
    assert module, dotted
    if inside:
        return Definition(inside, "*")
    if module.endswith("__init__.py") and name not in definitions(module):
        return imports_of(module)[name]
    return Definition(module, name)


@cache
def imports_of(module: str) -> dict[str, Definition]:
    return imports(ast.parse((REPOSITORY / module).read_text(encoding="utf-8")))


def reached(start: Definition, follow: Callable[[Definition], bool]) -> set[Definition]:
    """The start and every definition that it names, and they in turn, as far as `follow` says."""
    seen, waiting = set(), [start]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if follow(one):
            waiting += named_by(one)
    return seen


def named_by(one: Definition) -> Iterator[Definition]:
    own, imported = definitions(one.module), imports_of(one.module)
    if one.name == "*":
        yield from (Definition(one.module, name) for name in own)
    elif one.name:
        yield Definition(one.module, "")
    for statement in own.get(one.name, []):
        within = imported | imports(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in within:
                module, name = within[node.value.id]
                yield Definition(module, node.attr) if name == "*" else within[node.value.id]
            elif isinstance(node, ast.Name) and node.id in within and within[node.id].name != "*":
                yield within[node.id]
            elif isinstance(node, ast.Name) and node.id in own:
                yield Definition(one.module, node.id)


def code_of(one: Definition) -> list[ast.stmt]:
    return definitions(one.module).get(one.name, [])


def attributes(code: ast.AST, root: str) -> set[str]:
    """Every `root.a.b`, be it a name or an attribute itself, as "a.b"; of each the longest form."""
    inner = {id(node.value) for node in ast.walk(code) if isinstance(node, ast.Attribute)}
    chains = {ast.unparse(node) for node in ast.walk(code) if isinstance(node, ast.Attribute) and id(node) not in inner}
    return {chain.split(f"{root}.", 1)[1] for chain in chains if f".{root}." in f".{chain}" and "(" not in chain}
