"""The pipeline as its users use it: `dvc repro`, `dvc exp run -S`, `dvc metrics diff`."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from pipeline import REPOSITORY, Project, stages_that_ran

from stages.common import EXPERIMENTS

DVC = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
ORDER = ["download", "preprocess", "grid-train", "experiment", "weight-diff", "timing", "verdicts", "report"]


def bodies():
    return {name: stage.get("do", stage) for name, stage in DVC.items()}


def leaves(section, prefix=""):
    for name, value in section.items():
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


def test_the_whole_pipeline_writes_every_result(finished: Project):
    names = {path.name for path in (finished.folder / "reports" / "runs").iterdir()}
    for key in ["grid-b32-e1-l0.01", "grid-b64-e2-l0.01", *(f"experiment-{name}" for name in EXPERIMENTS)]:
        assert {f"{key}.csv", f"{key}.json", f"{key}-costs.csv"} <= names
    for name in ("report.html", "report.md", "verdicts.csv", "fidelity.csv", "epochs.csv", "weight-diff.csv"):
        assert (finished.folder / "reports" / name).stat().st_size > 100
    assert not list(finished.folder.rglob("*.part"))


def test_nothing_runs_a_second_time(finished: Project):
    assert stages_that_ran(finished.dvc("repro").stdout) == []


def test_a_longer_cell_goes_on_from_the_shorter_one(finished: Project):
    times = {
        epochs: json.loads((finished.folder / f"reports/times/grid-b32-e{epochs}-l0.01.json").read_text())
        for epochs in (1, 2)
    }
    assert times[1]["steps"] == times[2]["steps"] == 30


def test_two_replicas_leave_nearly_everything_undecided(finished: Project):
    summary = json.loads((finished.folder / "reports/verdicts.json").read_text())
    assert summary["undecided"] >= 12


def test_another_l2_trains_experiments_2_and_3_and_what_follows(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    ran = stages_that_ran(project.dvc("exp", "run", "-S", "l2=0.04").stdout)
    assert sorted(ran) == sorted(
        ["experiment@2", "experiment@3", "experiment@2-exact", "weight-diff", "verdicts", "report"]
    )
    assert re.search(r"^[-+]", project.git("diff", "-U0", "params.yaml").split("@@")[-1], flags=re.MULTILINE)
    changed = [line for line in project.git("diff", "-U0", "params.yaml").splitlines() if re.match(r"[-+][^-+]", line)]
    assert changed == ["-l2: 0.01", "+l2: 0.04"]
    project.git("switch", "-qc", "other")
    project.commit("l2 0.04")
    diff = project.dvc("metrics", "diff", "main", "other").stdout
    assert re.search(r"experiment-3\.json +\S*(accuracy|cost)\.mean +[\d.]+ +[\d.]+", diff), diff
    assert "experiment-1.json" not in diff


def test_a_value_added_to_the_grid_trains_only_the_new_cells(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.set(grid={"epochs": [1, 2, 3]})
    ran = stages_that_ran(project.dvc("repro").stdout)
    assert ran == ["grid-train@32-3-0.01", "grid-train@64-3-0.01", "verdicts", "report"]


def test_the_same_commit_gives_the_same_bytes(finished: Project, tmp_path: Path):
    again = Project.create(tmp_path / "again", finished.mnist)
    again.dvc("repro")
    one, two = finished.results(), again.results()
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_fresh_clone_shows_metrics_and_a_fresh_lock(finished: Project, tmp_path: Path):
    finished.git("clone", "-q", str(finished.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", finished.mnist)
    assert "experiment-1.json" in clone.dvc("metrics", "show").stdout
    assert stages_that_ran(clone.dvc("repro", "--dry", "--allow-missing").stdout) == []


def test_plots_work_offline(finished: Project):
    out = finished.dvc("plots", "show", "--out", "plots").stdout
    page = (finished.folder / "plots" / "index.html").read_text(encoding="utf-8")
    assert "index.html" in out
    assert not re.search(r'(src|href)="?https?:', page)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("l2=-1", "params.yaml: l2: expected a finite number that is not negative, got -1"),
        ("epochs=0", "params.yaml: epochs: expected a number of at least 1, got 0"),
        ("learning_rate=abc", "params.yaml: learning_rate: expected a number, got 'abc'"),
        ("grid.batch_size=[]", "params.yaml: grid.batch_size: expected at least 1 values in the list, got []"),
        ("bacth_size=32", "bacth_size"),
        ("replicas=0", "params.yaml: replicas: expected a number of at least 1, got 0"),
        ("replicas=1000000000", "params.yaml: replicas: expected a number of at most 100000, got 1000000000"),
        ("replicas=100000", "replicas: 100000 need about"),
        ("device=cuda", "params.yaml: device: expected cuda to be available"),
        ("batch_size=100000", "batch_size: expected 1 to 960, the training examples, got 100000"),
        ("network.initialization=he", "network.initialization: expected 'he_fan_out'"),
    ],
)
def test_a_bad_parameter_is_one_clear_line(change: str, says: str, finished: Project, tmp_path: Path):
    import torch

    if change == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    project = finished.copy(tmp_path / "copy")
    before = project.results()
    result = project.dvc("exp", "run", "-S", change, check=False)
    assert result.returncode != 0
    assert says in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    after = project.results()
    assert {name: after[name] for name in after if before.get(name) != after[name]} == {}


def test_stages_stand_in_the_order_of_the_data():
    assert list(DVC) == ORDER
    assert all(body["desc"] for body in bodies().values())


def test_every_parameter_is_declared_by_a_stage():
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    declared = [name for body in bodies().values() for name in body.get("params", [])]
    for leaf in leaves(params):
        assert any(leaf == name or leaf.startswith(f"{name}.") for name in declared), f"{leaf} is declared by no stage"


def test_the_experiments_are_those_of_dvc_yaml():
    assert tuple(DVC["experiment"]["foreach"]) == EXPERIMENTS


# The door: how parameters are read, and how a stage starts and fails. What they decide is in the parameters.
DOOR = {"stages", "stages.common", "stages.parameters"}


def imported(module: str, seen: set[str]) -> set[str]:
    """The project's modules that a module imports, and they in turn; not through the door."""
    path = REPOSITORY / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen | DOOR or not path.exists():
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in ("nnlib", "stages"):
                imported(name, seen)
    return seen


@pytest.mark.parametrize("name", ORDER)
def test_a_stage_depends_on_all_the_code_that_it_imports(name: str):
    body = bodies()[name]
    module = body["cmd"].split()[2]
    for one in imported(module, set()):
        path = Path(*one.split("."))
        path = path / "__init__.py" if (REPOSITORY / path).is_dir() else path.with_suffix(".py")
        covered = any(path == Path(dep) or Path(dep) in path.parents for dep in body["deps"])
        assert covered, f"{name} imports {path}, which is none of its deps"
