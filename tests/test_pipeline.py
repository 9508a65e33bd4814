"""The pipeline as its users use it: `dvc repro`, `dvc exp run -S`, `dvc metrics diff`."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL

import pandas as pd
import psutil
import pytest
from pipeline import REPOSITORY, TRAINING, UNCOUNTED, Project, stages_that_ran, stages_that_trained
from test_any_parameters import assert_right

from nnlib.errors import InputError
from stages import check, parameters, train
from stages.parameters import read_yaml

DVC = read_yaml(REPOSITORY / "dvc.yaml")["stages"]
EXPERIMENTS = ["1", "2", "3", "4", "2-exact", "4-exact"]


VERDICT_TABLES = ("claims", "comparisons", "fidelity", "baseline", "explanations", "epochs", "low")


def entries(project: Project) -> set[Path]:
    return set((project.folder / "data" / "replicas").rglob("*.safetensors"))


def test_the_whole_pipeline_writes_every_result(finished: Project):
    for name in ["grid", *(f"experiment-{key}" for key in EXPERIMENTS)]:
        folder = finished.folder / "reports" / "runs" / name
        assert {path.name for path in folder.iterdir()} == {"runs.csv", "replicas.csv", "curves.csv", "log.csv"}
    tables = [f"verdicts/{name}.csv" for name in VERDICT_TABLES]
    for name in ("report.html", "report.md", "weight-diff.csv", *tables):
        assert (finished.folder / "reports" / name).stat().st_size > 40
    assert not list(finished.folder.rglob("*.part"))
    params = parameters.check(read_yaml(finished.folder / "params.yaml"))
    assert_right(params, finished.folder / "reports")


def test_nothing_runs_a_second_time(finished: Project):
    """By DVC as it is; the one that the tests fork wrote dvc.lock in its own, quicker way."""
    out = finished.run(sys.executable, "-m", "dvc", "repro").stdout
    assert stages_that_ran(out) == []
    assert "Stage 'report' didn't change" in out


def test_metrics_fit_a_terminal_of_120_columns(finished: Project):
    summary = json.loads((finished.folder / "reports/summary.json").read_text())
    assert [*summary][-4:] == ["best", "for", "against", "open"]
    assert {"1", "2", "3", "4", "2-exact", "4-exact"} < summary.keys()
    assert summary["open"] >= 12
    for command in (["metrics", "show"], ["metrics", "diff", "HEAD"], ["exp", "show", "--only-changed", "--no-pager"]):
        shown = finished.dvc(*command, COLUMNS="120").stdout
        assert max(map(len, shown.splitlines()), default=0) <= 120, shown


def test_curves_have_points_however_short_the_run(finished: Project):
    curves = pd.read_csv(finished.folder / "reports/runs/experiment-2/curves.csv")
    log = pd.read_csv(finished.folder / "reports/runs/experiment-2/log.csv")
    assert len(curves) == len(log) == 12  # 60 steps, a look every 5
    assert log[["train_cost", "validation_cost"]].notna().all(axis=None)


def test_another_l2_trains_what_uses_it_and_the_way_back_trains_nothing(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.draw_circles()
    out = project.dvc("exp", "run", "-S", "l2=0.04", **UNCOUNTED).stdout
    trained = ["experiment@2", "experiment@3", "experiment@2-exact", "alternatives-train"]
    assert stages_that_trained(out) == trained
    evaluated = [*(f"experiment-evaluate@{key}" for key in ("2", "3", "2-exact")), "alternatives-evaluate"]
    assert set(stages_that_ran(out)) == {"check", *trained, *evaluated, "weight-diff", "verdicts", "report"}
    changed = [line for line in project.git("diff", "-U0", "params.yaml").splitlines() if re.match(r"[-+][^-+]", line)]
    assert changed == ["-l2: 0.01", "+l2: 0.04"]
    project.git("switch", "-qc", "other")
    project.commit("l2 0.04")
    diff = project.dvc("metrics", "diff", "main", "other").stdout
    assert re.search(r"summary\.json +3 ", diff), diff
    assert not re.search(r"summary\.json +1 ", diff), diff
    project.git("switch", "-q", "main")
    assert stages_that_trained(project.dvc("repro", **UNCOUNTED).stdout) == []


def test_more_replicas_train_the_new_ones_and_the_way_back_nothing(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = entries(project)
    # The first target trains after experiments 1 to 4; each target more costs DVC half a second.
    targets = ("alternatives-train", "experiment@2-exact", "experiment@4-exact", "grid-train")
    more = ("exp", "run", "-S", "replicas=4", *targets)
    assert set(stages_that_trained(project.dvc(*more, **UNCOUNTED).stdout)) == TRAINING
    assert before < entries(project)
    assert len(entries(project)) == 2 * len(before)
    project.git("checkout", ".")
    out = project.dvc("repro", **UNCOUNTED).stdout
    assert stages_that_trained(out) == [], out
    again = project.dvc(*more, **UNCOUNTED).stdout
    assert stages_that_trained(again) == [], again


def processes_in(project: Project) -> list[psutil.Process]:
    found = psutil.process_iter(["cwd"])
    return [process for process in found if (process.info["cwd"] or "").startswith(str(project.folder))]


@pytest.fixture
def with_a_queue(finished: Project, tmp_path: Path):
    """A copy, none of whose queue's workers is left at the end."""
    project = finished.copy(tmp_path / "copy")
    yield project
    workers = processes_in(project)
    for process in workers:
        process.kill()
    psutil.wait_procs(workers, timeout=30)


@pytest.mark.skipif(sys.platform == "win32", reason="tells by its folder which process is a worker of the queue")
def test_queued_experiments_share_the_store(with_a_queue: Project):
    project = with_a_queue
    before, stages = entries(project), ["experiment@1", "experiment@3"]
    # A queued experiment runs in a clone; to compile there again would take longer than all else.
    compiled = {path.parent.relative_to(project.folder) for path in project.folder.glob("nnlib/**/*.nbi")}
    copied = [option for folder in compiled for option in ("--copy-paths", str(folder))]
    for l2 in (0.04, 0.02):
        project.dvc("exp", "run", "--queue", *copied, "-S", "epochs=3", "-S", f"l2={l2}", *stages)
    # Its workers keep their output open, long after the experiments have ended: nobody waits for that.
    start, environment = ["python", "-m", "dvc", "queue", "start", "-j", "2"], project.environment | UNCOUNTED
    subprocess.run(start, cwd=project.folder, env=environment, stdout=DEVNULL, stderr=DEVNULL, check=True)
    end = time.monotonic() + 300
    # A finished experiment is a ref. To ask the queue would send its workers messages, in which DVC's own get lost.
    while len(set(project.git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/*").split())) < 2:
        assert time.monotonic() < end, project.dvc("queue", "status").stdout
        time.sleep(0.2)
    # Experiment 1 is the same in both, experiment 3 is not: three networks, two replicas.
    written = {path: path.stat().st_mtime_ns for path in entries(project)}
    assert len(written.keys() - before) == 3 * 2
    out = project.dvc("exp", "run", "-S", "epochs=3", "-S", "l2=0.04", *stages, **UNCOUNTED).stdout
    assert stages_that_trained(out) == []
    # Nor does the stage by itself, which knows the store and not DVC's cache.
    project.python("stages.train", "experiment-3", "--l2", "0.02")
    assert {path: path.stat().st_mtime_ns for path in entries(project)} == written


def test_other_values_of_the_grid_leave_nothing_behind(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = entries(project)
    project.set(grid={"epochs": [1, 2, 3], "l2": [1e-5, 0.01]})
    project.dvc("repro", "grid-evaluate", **UNCOUNTED)
    # Of l2 1e-5 all lengths are new, of 0.01 the longest: 2 sizes, 2 replicas.
    assert len(entries(project) - before) == (3 + 1) * 2 * 2
    project.git("checkout", "params.yaml")
    project.dvc("repro", "grid-evaluate", **UNCOUNTED)
    cells = {f"grid-b{size}-e{epochs}-l0.01" for size in (32, 64) for epochs in (1, 2)}
    assert {path.stem for path in (project.folder / "data/models/grid").glob("*.safetensors")} == cells
    assert set(pd.read_csv(project.folder / "reports/runs/grid/runs.csv")["run"]) == cells
    assert "up to date" in project.dvc("status").stdout


def test_the_same_commit_gives_the_same_bytes(finished: Project, tmp_path: Path):
    again = Project.create(tmp_path / "again", finished.mnist)
    again.set(threads=2)
    again.dvc("repro", **UNCOUNTED)
    one, two = finished.results(), again.results()
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    status = again.git("status", "--short").split()
    assert not [name for name in status if name.startswith("data")]


def test_a_fresh_clone_has_metrics_and_a_fresh_lock_and_judges_an_edited_claim(finished: Project, tmp_path: Path):
    finished.git("clone", "-q", str(finished.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", finished.mnist)
    assert "2-exact" in clone.dvc("metrics", "show").stdout
    assert stages_that_ran(clone.dvc("repro", "--dry", "--allow-missing").stdout) == []
    study = clone.folder / "data/published/study.yaml"
    study.write_text(study.read_text().replace("low: 1}", "low: -9}"))
    out = clone.dvc("repro", "--allow-missing", "verdicts").stdout
    assert stages_that_ran(out) == ["check", "verdicts"], out
    table = pd.read_csv(clone.folder / "reports/verdicts/comparisons.csv")
    assert table[table["claim"] == "interaction-is-the-cause"]["low"].tolist() == [-9]


def test_an_experiment_is_an_entry_and_a_label(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    pipeline = project.folder / "dvc.yaml"
    entry = "      2-exact: {batchnorm: exact"
    pipeline.write_text(pipeline.read_text().replace(entry, f"      3-strong: {{batchnorm: none, l2: 0.5}}\n{entry}"))
    result = project.dvc("repro", check=False)
    assert "experiment-3-strong: expected a label of its own" in result.stderr
    figures = ("experiments", "experiment-costs", "weights-squared", "train-validation")
    project.draw_circles(*(name.replace("-", "_") for name in figures))
    labels = project.folder / "stages/reporting/labels.py"
    labels.write_text(
        labels.read_text().replace(
            "LABELS = {", 'LABELS = {\n    "experiment-3-strong": Label("3 strong", colours.GREY),'
        )
    )
    out = project.dvc("repro", **UNCOUNTED).stdout
    assert [name for name in stages_that_ran(out) if "train" in name or "experiment@" in name] == [
        "experiment@3-strong"
    ]
    assert "3-strong" in json.loads((project.folder / "reports/summary.json").read_text())
    for name in ("report.md", "report.html", "plots/costs.csv", "plots/accuracies.csv"):
        assert "3 strong" in (project.folder / "reports" / name).read_text(encoding="utf-8"), name
    for name in figures:
        drawn = (project.folder / f"reports/figures/{name}.svg").read_text(encoding="utf-8")
        assert "<text" in drawn
        assert drawn != (finished.folder / f"reports/figures/{name}.svg").read_text(encoding="utf-8"), name


def test_plots_work_offline_and_are_nothing_to_commit(finished: Project):
    out = finished.dvc("plots", "show").stdout
    page = (finished.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert finished.git("status", "--short", "dvc_plots") == ""
    assert "index.html" in out
    assert not re.search(r'(src|href)="?https?:', page)
    assert "experiment 2-exact" in page


def test_a_bad_parameter_is_one_clear_line_and_leaves_every_file_as_it_was(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = project.results()
    result = project.dvc("exp", "run", "-S", "learning_rate=abc", "-S", "grid.batch_size=32", check=False)
    assert result.returncode != 0
    says = "learning_rate: expected a number, got 'abc'; grid.batch_size: expected a list, got 32"
    assert f"check: params.yaml: {says}\n" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert project.results() == before
    assert (project.folder / "data/raw/train-images-idx3-ubyte").exists()


@pytest.fixture
def in_a_copy(tmp_path, monkeypatch):
    """The files that `check` reads, in a folder of their own."""
    for name in ("dvc.yaml", "params.yaml", "data/published/study.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


STUDY = "data/published/study.yaml"
MISTAKES = {
    "key": (STUDY, "  figure: grid-costs", "  figur: grid-costs", "claim batch-32-faster-per-step: .*figur"),
    "figure": (STUDY, "figure: grid-costs", "figure: costs", "claim batch-32-faster-per-step: expected a figure of"),
    "run": (STUDY, "experiment-3/std_W1", "experiment-33/std_W1", "claim l2-weight-spread: .*, got 'experiment-33'"),
    "measure": (STUDY, "experiment-3/std_W1", "experiment-3/sd_W1", "claim l2-weight-spread: .*, got 'sd_W1'"),
    "margin": (
        STUDY,
        "high: 0, margin: 0.02",
        "high: 0, margin: 0",
        "claim batch-32-faster-per-step: .*a margin above 0",
    ),
    "explanation": (
        STUDY,
        "    grid-b32-e50-l0.04/test_accuracy: ",
        "    grid-b32-e51-l0.04/test_accuracy: ",
        "explanation columns-swapped: expected a published number, got 'grid-b32-e51-l0.04/test_accuracy'",
    ),
    "alternative": (STUDY, "alternative: one-look", "alternative: one", "explanation one-look: .*fan-in.*, got 'one'"),
    "explanation's key": (STUDY, "  alternative: one-look", "  other: one-look", "explanation one-look: .*other"),
    "every": (STUDY, "every: true", "every: yes", "claim batch-32-wins: every: expected True or False, got 'yes'"),
    "nothing": (STUDY, "{of: grid-b32-e50-l0.01/test_accuracy, m", "{of: null, m", "claim batch-32-wins: of: .*text"),
    "bound": (STUDY, "low: 0}", "low: '0'}", "claim batch-32-wins: low: expected a number, got '0'"),
    "id": (
        STUDY,
        "- id: best-configuration",
        "- id: batch-32-wins",
        ".*: claims: expected an id for each, got batch-32-wins 2 times",
    ),
    "published": (
        STUDY,
        "{test_accuracy: 0.8996}",
        "{test_accuracy: 89.96 %}",
        "data/published/study.yaml: published: grid-b32-.*finite number",
    ),
    "published run": (
        STUDY,
        "\n  experiment-3:\n",
        "\n  experiment-33:\n",
        "data/published/study.yaml: published: experiment-3: test_accuracy: .*number, got None",
    ),
    "cost": (STUDY, "validation_cost: 878.8498", "cost: 1", ".*experiment-2: validation_cost: .*number, got None"),
    "seconds": (
        STUDY,
        "{experiment-1: 138.77",
        "{experiment-5: 138.77",
        ".*: seconds: experiment-1: .*number, got None",
    ),
    "counting": (STUDY, "epochs: 99", "epoch: 99", ".*: counting: epochs: .*number, got None"),
    "none": (STUDY, "{test_accuracy: 0.8996}", "", "data/published/study.yaml: published: grid-b32-.*got None"),
    "instead": (
        STUDY,
        "l0.04/test_accuracy: grid-b32-e100-l0.04/test_accuracy",
        "l0.04/test_accuracy: grid-b32-e100-l0.04/test_acuracy",
        "explanation columns-swapped: expected a published number, got 'grid-b32-e100-l0.04/test_acuracy'",
    ),
    "layer": (STUDY, "experiment-1/mean_W1, ", "experiment-1/mean_W01, ", "claim .*: expected a measure of"),
    "label": ("dvc.yaml", "      2-exact:", "      2-new: {}\n      2-exact:", "experiment-2-new: expected a label"),
}


@pytest.mark.parametrize(("file", "old", "new", "says"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_fit_together_is_one_line_before_anything(file, old, new, says, in_a_copy):
    check.main(parameters.load())
    path = in_a_copy / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=f"^{says}"):
        check.main(parameters.load())


def test_too_few_replicas_are_told_at_the_start(in_a_copy, capsys):
    check.main(parameters.load().model_copy(update={"replicas": 3}))
    assert re.search(r"replicas: 3 decide no claim.*at least 12", capsys.readouterr().out)


def test_claims_about_what_is_not_trained_cost_no_replicas(in_a_copy, capsys):
    params = parameters.load()
    few = params.grid.model_copy(update={"batch_size": [7]})
    network = params.network.model_copy(update={"layers_dims": [784, 10]})
    check.main(params.model_copy(update={"replicas": 3, "grid": few, "network": network}))
    assert re.search(r"replicas: 3 decide no claim.*at least 11", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"replicas": 10**8}, "replicas: 100000000 need about"),
        ({"batch_size": 100_000}, "batch_size: expected"),
        ({"device": "cuda"}, "params.yaml: device: expected cuda"),
    ],
    ids=str,
)
def test_what_only_the_data_or_the_machine_can_tell_is_named_before_training(update, says, finished, monkeypatch):
    import torch

    if "device" in update and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("REPLICA_STORE", str(finished.folder / "data/replicas"))
    monkeypatch.setattr(train, "save_tensors", None)
    params = parameters.load().model_copy(update=update)
    with pytest.raises((InputError, MemoryError), match=f"^{says}"):
        train.main(params, "experiment-1")


def test_a_stage_without_its_arguments_says_how_it_is_used(finished: Project):

    result = finished.python("stages.train", check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: python -m stages.train")


def test_a_letter_that_the_terminal_lacks_stops_nothing(finished: Project):
    listed = finished.run(sys.executable, "-m", "stages.store", PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout
    assert re.search(r"batch 32  \? 0.01 ", listed)


def test_the_store_is_listed_and_pruned(finished: Project, tmp_path: Path):

    project = finished.copy(tmp_path / "copy")
    listed = project.python("stages.store").stdout
    assert f"{len(entries(project))} entries" in listed
    assert "λ" in listed
    project.set(l2=0.07)
    project.dvc("repro", "experiment@3")
    before = len(entries(project))
    pruned = project.python("stages.store", "prune").stdout
    assert "removed 0 of" in pruned
    project.git("checkout", "params.yaml")
    assert f"removed 2 of {before} entries" in project.python("stages.store", "prune").stdout
