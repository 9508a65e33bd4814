"""What a stage reads it declares: code, files and parameters. Nothing else makes it run again."""

import ast
import re
from pathlib import Path

import pytest
from pipeline import REPOSITORY

from nnlib.engine import store
from stages.parameters import read_yaml

DVC = read_yaml(REPOSITORY / "dvc.yaml")["stages"]
BODIES = {name: stage.get("do", stage) for name, stage in DVC.items()}

# What decides a trained network's bits.
DECIDES = {
    *(f"nnlib/{name}.py" for name in ("layers", "model", "seeds", "training")),
    *(f"nnlib/engine/{name}.py" for name in ("batched", "compiled", "functions", "kernel", "lanes", "layout", "run")),
}
# What decides only which networks are trained, and where: in the list of a training stage, not in a replica's hash.
ASKS = {"nnlib/engine/replicas.py", "stages/train.py"}
# How a stage starts, reads and writes, and where work is done: changes no result.
LAUNCHER = {
    "nnlib/__init__.py",
    "nnlib/errors.py",
    "nnlib/data/__init__.py",
    "nnlib/data/dataset.py",
    "nnlib/data/files.py",
    "nnlib/engine/__init__.py",
    "nnlib/engine/cluster.py",
    "nnlib/engine/store.py",
    "stages/__init__.py",
    "stages/common.py",
    "stages/parameters.py",
    "stages/reporting/labels.py",
}
# What is made of trained networks, or comes before them, or is no part of the pipeline.
APART = {
    "nnlib/data/mnist.py",
    "nnlib/gradients.py",
    *(f"nnlib/evidence/{name}.py" for name in ("__init__", "anomaly", "claims", "inspection", "measures")),
    *(f"nnlib/evidence/{name}.py" for name in ("statistics", "tables")),
    *(f"stages/{name}.py" for name in ("check", "download", "evaluate", "preprocess", "report", "store", "timing")),
    *(f"stages/{name}.py" for name in ("verdicts", "weight_diff")),
    *(f"stages/reporting/{name}.py" for name in ("__init__", "catalogue", "figures", "formats", "playground")),
    *(f"stages/reporting/{name}.py" for name in ("readme", "results")),
}


def modules() -> set[str]:
    found = (path.relative_to(REPOSITORY) for top in ("nnlib", "stages") for path in (REPOSITORY / top).rglob("*.py"))
    return {path.as_posix() for path in found}


def covered(module: str, stage: str) -> bool:
    return any(module == dep or module.startswith(f"{dep}/") for dep in BODIES[stage]["deps"])


def imported(module: str, seen: set[str]) -> set[str]:
    """The project's modules that a module imports, and they in turn, but not what the launcher imports."""
    path = REPOSITORY / module
    if module in seen or not path.exists():
        return seen
    seen.add(module)
    if module in LAUNCHER:
        return seen
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name.split(".")[0] in ("nnlib", "stages"):
                    file = name.replace(".", "/")
                    imported(f"{file}/__init__.py" if (REPOSITORY / file).is_dir() else f"{file}.py", seen)
    return seen


def test_every_module_is_on_one_side():
    sides = [DECIDES, ASKS, LAUNCHER, APART]
    assert set().union(*sides) == modules()
    assert sum(map(len, sides)) == len(modules())


@pytest.mark.parametrize("stage", ["grid-train", "experiment"])
@pytest.mark.parametrize("module", sorted(modules()))
def test_an_edit_makes_training_stale_if_it_decides_training_and_only_then(module: str, stage: str):
    assert covered(module, stage) == (module in DECIDES | ASKS)


def test_a_replicas_hash_has_what_decides_its_bits():
    sources = {f"nnlib/{name}" for names in (store.SHARED, *store.SOURCES.values()) for name in names}
    assert sources == DECIDES


@pytest.mark.parametrize("stage", BODIES)
def test_a_stage_depends_on_the_code_that_it_imports(stage: str):
    module = f"stages/{BODIES[stage]['cmd'].split()[2].removeprefix('stages.')}.py"
    # Evaluation and report ask trained networks questions, by code that training is held to.
    known = LAUNCHER | (set() if stage in ("grid-train", "experiment", "timing") else DECIDES | ASKS)
    assert sorted(one for one in imported(module, set()) - known if not covered(one, stage)) == []


def test_stages_stand_in_the_order_of_the_data():
    assert list(DVC) == [
        "check",
        "download",
        "preprocess",
        "grid-train",
        "experiment",
        "grid-evaluate",
        "experiment-evaluate",
        "weight-diff",
        "timing",
        "verdicts",
        "report",
    ]
    assert all(body["desc"] for body in BODIES.values())


def reads(code: ast.AST) -> set[str]:
    """Every `params.a.b`, the longest form of each."""
    chains = set(re.findall(r"\bparams\.([a-z_][a-z_0-9.]*)", ast.unparse(code)))
    return {one for one in chains if not any(other.startswith(f"{one}.") for other in chains)}


def parsed(module: str) -> ast.Module:
    return ast.parse((REPOSITORY / module).read_text(encoding="utf-8"))


# What runs of stages/train.py in each stage.
USED = {
    "grid-train": {"cells", "settings", "train_with_a_bar", "device"},
    "experiment": {"experiment", "settings", "train_with_a_bar", "device"},
    "timing": {"settings", "device"},
}
# Threads change how long training takes and nothing else; the rest are methods.
NOT_READ = {"threads", "model_dump", "model_copy"}


@pytest.mark.parametrize("stage", [name for name in BODIES if name != "check"])
def test_a_stage_declares_the_parameters_that_it_reads(stage: str):
    module = f"stages/{BODIES[stage]['cmd'].split()[2].removeprefix('stages.')}.py"
    own = [path for path in imported(module, set()) if path.startswith("stages/") and path != "stages/train.py"]
    code: list[ast.AST] = [parsed(path) for path in own]
    code += [node for node in parsed("stages/train.py").body if getattr(node, "name", "") in USED.get(stage, ())]
    declared = BODIES[stage].get("params", [])
    for name in sorted(set().union(*map(reads, code))):
        read = ".".join(part for part in name.split(".") if part not in NOT_READ)
        known = any(read == one or read.startswith(f"{one}.") for one in declared)
        assert known or not read, f"{stage}: params.{name}"


def test_the_functions_of_training_are_there():
    names = {getattr(node, "name", "") for node in parsed("stages/train.py").body}
    assert set().union(*USED.values()) <= names


def test_every_parameter_is_declared_by_the_stage_that_checks_them():
    assert BODIES["check"]["params"] == [{"params.yaml": None}]


def test_templates_and_words_are_the_reports_alone():
    for path in Path(REPOSITORY / "stages/reporting/templates").iterdir():
        name = path.relative_to(REPOSITORY).as_posix()
        assert [stage for stage in BODIES if covered(name, stage)] == ["report"]
