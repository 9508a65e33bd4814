"""What a stage reads it declares: code, files and parameters. Nothing else makes it run again."""

import re
import subprocess

import pytest
from pipeline import REPOSITORY
from sources import Definition, attributes, code_of, modules, reached

from nnlib.replicas import store
from stages.parameters import Parameters, Section, read_yaml

DVC = read_yaml(REPOSITORY / "dvc.yaml")["stages"]
BODIES = {name: stage.get("do", stage) for name, stage in DVC.items()}
MODULE = {name: f"{body['cmd'].split()[2].replace('.', '/')}.py" for name, body in BODIES.items()}
TRAINING = ("grid-train", "experiment", "alternatives-train")

# What decides a trained network's bits.
DECIDES = {
    *(f"nnlib/{name}.py" for name in ("layers", "model", "seeds", "training")),
    *(f"nnlib/engine/{name}.py" for name in ("batched", "compiled", "functions", "kernel", "lanes", "layout", "run")),
}
# What decides only which networks are trained, and where: in the list of a training stage, not in a replica's hash.
ASKS = {"nnlib/replicas/train.py", "stages/configurations.py"}
# How a stage starts, reads and writes, what a function refuses, and where work is done: changes no result, and is in no
# list for its own sake.
LAUNCHER = {
    "nnlib/__init__.py",
    "nnlib/arguments.py",
    "nnlib/errors.py",
    "nnlib/shapes.py",
    "nnlib/data/__init__.py",
    "nnlib/data/dataset.py",
    "nnlib/data/files.py",
    "nnlib/engine/__init__.py",
    "nnlib/replicas/cluster.py",
    "nnlib/replicas/store.py",
    "stages/__init__.py",
    "stages/common.py",
    "stages/parameters.py",
}
# What is made of trained networks, or comes before them, or is no part of the pipeline.
APART = {
    "nnlib/data/mnist.py",
    "nnlib/gradients.py",
    *(f"nnlib/evidence/{name}.py" for name in ("__init__", "anomaly", "claims", "inspection", "measures")),
    *(f"nnlib/evidence/{name}.py" for name in ("statistics", "tables")),
    "stages/alternatives.py",
    *(f"stages/{name}.py" for name in ("check", "download", "evaluate", "preprocess", "report", "store", "study")),
    *(f"stages/{name}.py" for name in ("timing", "train", "verdicts", "weight_diff")),
    *(f"stages/reporting/{name}.py" for name in ("__init__", "catalogue", "colours", "digits", "explosion", "formats")),
    *(f"stages/reporting/{name}.py" for name in ("labels", "metrics", "playground", "readme", "results")),
    *(f"stages/reporting/{name}.py" for name in ("roulette", "words")),
    *(f"stages/reporting/figures/{name}.py" for name in ("__init__", "accuracies", "costs", "images", "style")),
    *(f"stages/reporting/figures/{name}.py" for name in ("labs", "verdicts", "weights")),
}

LABEL = Definition("stages/reporting/labels.py", "check_label")
# Of a stage's code, what it names but does not run, or runs without an effect on what it writes.
NOT_RUN = {
    "check": {
        Definition("stages/reporting/catalogue.py", "CATALOGUE"),
        Definition("stages/configurations.py", "settings"),
        Definition("nnlib/engine/run.py", "Settings"),
    },
    "grid-train": {
        Definition("stages/configurations.py", "experiment"),
        Definition("stages/reporting/labels.py", "check_label"),
    },
    "experiment": {
        Definition("stages/configurations.py", "cells"),
        Definition("stages/reporting/labels.py", "check_label"),
    },
    "alternatives-train": {Definition("stages/configurations.py", "settings")},
}
# To read a trained network, or with what it was trained, is not to train one.
READ = {Definition("nnlib/engine/run.py", "Run"), Definition("nnlib/engine/run.py", "Settings")}
# Threads change how long training takes and nothing else.
UNDECLARED = {name: {"threads"} for name in TRAINING}


def covered(path: str, stage: str) -> bool:
    return any(path == dep or path.startswith(f"{dep}/") for dep in BODIES[stage]["deps"])


def code_that_runs(stage: str) -> set[Definition]:
    """The definitions that a stage reaches, without those of `NOT_RUN` and what only they reach."""
    left_out = NOT_RUN.get(stage, set())
    ends = left_out if stage in (*TRAINING, "timing") else left_out | READ
    found = reached(Definition(MODULE[stage], "*"), lambda one: one.module not in LAUNCHER and one not in ends)
    return found - left_out


def test_every_module_is_on_one_side():
    sides = [DECIDES, ASKS, LAUNCHER, APART]
    assert set().union(*sides) == modules()
    assert sum(map(len, sides)) == len(modules())


@pytest.mark.parametrize("stage", TRAINING)
@pytest.mark.parametrize("module", sorted(modules()))
def test_an_edit_makes_training_stale_if_it_decides_training_and_only_then(module: str, stage: str):
    assert covered(module, stage) == (module in DECIDES | ASKS | {MODULE[stage]})


def test_a_replicas_hash_has_what_decides_its_bits():
    sources = {f"nnlib/{name}" for names in (store.SHARED, *store.SOURCES.values()) for name in names}
    assert sources == DECIDES


@pytest.mark.parametrize("stage", TRAINING)
def test_what_decides_training_is_what_training_runs(stage: str):
    assert {one.module for one in code_that_runs(stage)} - LAUNCHER == DECIDES | ASKS | {MODULE[stage]}


@pytest.mark.parametrize("stage", BODIES)
def test_a_stage_depends_on_the_code_that_it_runs(stage: str):
    ran = {one.module for one in code_that_runs(stage)}
    assert sorted(module for module in ran - LAUNCHER if not covered(module, stage)) == []


@pytest.mark.parametrize("stage", BODIES)
def test_a_stage_depends_on_no_code_that_it_never_runs(stage: str):
    ran = {one.module for one in reached(Definition(MODULE[stage], "*"), lambda one: True)}
    listed = {dep for dep in BODIES[stage]["deps"] if dep.startswith(("nnlib", "stages"))}
    assert sorted(dep for dep in listed if not any(one == dep or one.startswith(f"{dep}/") for one in ran)) == []


def parameters_read(stage: str) -> set[str]:
    """Every `params.a.b` in the code that a stage runs, and in the report's templates, as far as it is a parameter."""
    chains = set()
    for one in code_that_runs(stage):
        if one.module.startswith("stages/") and one.module not in LAUNCHER:
            chains |= set().union(*(attributes(code, "params") for code in code_of(one)))
    if stage == "report":
        folder = REPOSITORY / "stages/reporting/templates"
        for template in set(folder.glob("*.j2")) - set(folder.glob("readme-*")):
            chains |= set(re.findall(r"\bparams\.([a-z_0-9.]+)", template.read_text(encoding="utf-8")))
    return {".".join(fields(chain.split("."))) for chain in chains} - {""}


def fields(chain: list[str]) -> list[str]:
    """The part of `params.a.b.method` that names a parameter; nothing of `params.method`."""
    found, section = [], Parameters
    for name in chain:
        if not (isinstance(section, type) and issubclass(section, Section)) or name not in section.model_fields:
            break
        found.append(name)
        section = section.model_fields[name].annotation
    return found


def within(name: str, section: str) -> bool:
    return name == section or name.startswith(f"{section}.")


@pytest.mark.parametrize("stage", [name for name in BODIES if name != "check"])
def test_a_stage_declares_the_parameters_that_it_reads_and_no_others(stage: str):
    declared, read = BODIES[stage].get("params", []), parameters_read(stage)
    undeclared = {name for name in read if not any(within(name, one) for one in declared)}
    assert undeclared == UNDECLARED.get(stage, set())
    assert [one for one in declared if not any(within(name, one) or within(one, name) for name in read)] == []


def test_the_stage_that_checks_the_parameters_depends_on_all_of_them():
    assert BODIES["check"]["params"] == [{"params.yaml": None}]


def test_all_results_in_git_are_some_stages():
    outs = [out for body in BODIES.values() for out in (*body["outs"], *body.get("metrics", []))]
    written = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
    written = [out.replace("${key}", key) for out in written for key in DVC["experiment"]["foreach"]]
    tracked = subprocess.check_output(["git", "ls-files", "reports"], cwd=REPOSITORY, text=True).split()
    assert tracked
    assert [path for path in tracked if not any(path == out or path.startswith(f"{out}/") for out in written)] == []


def test_stages_stand_in_the_order_of_the_data():
    assert list(DVC) == [
        "check",
        "download",
        "preprocess",
        "grid-train",
        "experiment",
        "alternatives-train",
        "grid-evaluate",
        "experiment-evaluate",
        "alternatives-evaluate",
        "weight-diff",
        "timing",
        "verdicts",
        "report",
    ]
    assert all(body["desc"] for body in BODIES.values())
