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
from pipeline import OTHERS, REPOSITORY, UNCOUNTED, Project, stages_that_ran

from nnlib.errors import InputError
from stages import check, parameters, train
from stages.studies import load_study
from stages.yaml_files import read_yaml

RUNS = list(load_study(REPOSITORY / "data/studies/study.yaml").runs)
TABLES = [
    "baseline",
    "beats",
    "claims",
    "comparisons",
    "crossed",
    "epochs",
    "explanations",
    "failures",
    "fidelity",
    "official",
    "splits",
    "winners",
]


def test_the_whole_pipeline_writes_every_result(finished: Project):
    reports = finished.folder / "reports"
    for name in ["grid", *RUNS]:
        assert {path.name for path in (reports / "runs" / name).iterdir()} == {
            "runs.csv",
            "replicas.csv",
            "curves.csv",
            "log.csv",
        }
    assert {path.name for path in (reports / "runs" / "studies").iterdir()} == OTHERS
    assert {path.stem for path in (reports / "verdicts" / "study").iterdir()} == {*TABLES}
    for name in ("report.html", "report.md", "weight-diff.csv", "summary.json"):
        assert (reports / name).stat().st_size > 40
    assert not list(finished.folder.rglob("*.part"))


def test_nothing_runs_a_second_time(finished: Project):
    """By DVC as it is; the one that the tests fork wrote dvc.lock in its own, quicker way."""
    out = finished.run(sys.executable, "-m", "dvc", "repro").stdout
    assert stages_that_ran(out) == []
    assert "Stage 'report' didn't change" in out


def test_metrics_are_the_medians_and_the_verdicts_of_the_studys_claims(finished: Project):
    summary = json.loads((finished.folder / "reports/summary.json").read_text())
    claims = pd.read_csv(finished.folder / "reports/verdicts/study/claims.csv")
    counts = claims.query("asked_by == 'study'")["verdict"].value_counts()
    assert {word: count for word, count in summary.items() if word in counts} == counts.to_dict()
    for run in RUNS:
        accuracy = pd.read_csv(finished.folder / f"reports/runs/{run}/replicas.csv")["test_accuracy"].median()
        assert summary[run] == pytest.approx(100 * accuracy, abs=0.0051)
    assert "supported" in finished.dvc("metrics", "show", "--md").stdout


def test_curves_have_points_however_short_the_run(finished: Project):
    curves = pd.read_csv(finished.folder / "reports/runs/experiment-2/curves.csv")
    log = pd.read_csv(finished.folder / "reports/runs/experiment-2/log.csv")
    assert len(curves) == len(log) == 12  # 60 steps, an evaluation every 5
    assert log[["train_cost", "validation_cost", "validation_accuracy"]].notna().all(axis=None)


def test_another_l2_trains_what_uses_it_and_the_way_back_trains_nothing(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.draw_circles()
    before = project.entries()
    out = project.dvc("exp", "run", "-S", "l2=0.04", **UNCOUNTED).stdout
    assert not {"grid-train", "reports"} & {*stages_that_ran(out)}
    settings = {
        path.parent.name: pd.read_csv(path).iloc[0] for path in (project.folder / "reports/runs").glob("*/runs.csv")
    }
    assert {run for run in RUNS if settings[run]["L2"] == 0.04} == {"experiment-2", "experiment-3", "2-exact"}
    # Two seeds each of those, of experiments 2 and 3 with every change, and of those on the other split. Without batch
    # norm another normalization changes nothing. Of the crossing the four of experiment 2.
    changes = list(read_yaml(REPOSITORY / "params.yaml")["explanations"]["changes"].values())
    normalizations = sum("normalization" in change for change in changes)
    assert len(project.entries() - before) == 2 * 3 + 2 * (2 * len(changes) - normalizations) + 2 * 3 + 4
    changed = [line for line in project.git("diff", "-U0", "params.yaml").splitlines() if re.match(r"[-+][^-+]", line)]
    assert changed == ["-l2: 0.01", "+l2: 0.04"]
    project.git("switch", "-qc", "other")
    project.commit("l2 0.04")
    diff = project.dvc("metrics", "diff", "main", "other").stdout
    assert re.search(r"summary\.json +experiment-3 ", diff), diff
    assert not re.search(r"summary\.json +experiment-1 ", diff), diff
    project.git("switch", "-q", "main")
    after = project.entries()
    project.dvc("repro", "explanations", "chance", "train@2-exact", "train@experiment-3", **UNCOUNTED)
    assert project.entries() == after


def test_more_replicas_train_the_new_ones_and_the_way_back_nothing(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = project.entries()
    project.dvc("exp", "run", "-S", "replicas=4", "train@experiment-1", "grid-train", **UNCOUNTED)
    after = project.entries()
    assert before < after
    # Of the grid two sizes of two lengths, one of which is experiment 3; and experiment 1.
    assert len(after - before) == 2 * (4 + 1)
    project.git("checkout", ".")
    project.dvc("repro", "train@experiment-1", "grid-train", **UNCOUNTED)
    assert project.entries() == after


def processes_in(project: Project) -> list[psutil.Process]:
    found = psutil.process_iter(["cwd"])
    return [process for process in found if (process.info["cwd"] or "").startswith(str(project.folder))]


@pytest.fixture
def with_a_queue(finished: Project, tmp_path: Path):
    """A copy, whose queue's worker is gone at the end."""
    project = finished.copy(tmp_path / "copy")
    yield project
    workers = processes_in(project)
    for process in workers:
        process.kill()
    psutil.wait_procs(workers, timeout=30)


@pytest.mark.skipif(sys.platform == "win32", reason="tells by its folder which process is a worker of the queue")
def test_queued_experiments_share_the_store(with_a_queue: Project):
    project = with_a_queue
    before, stages = project.entries(), ["train@experiment-1", "train@experiment-3"]
    # A queued experiment runs in a clone; to compile there again would take longer than all else.
    compiled = {path.parent.relative_to(project.folder) for path in project.folder.glob("nnlib/**/*.nbi")}
    copied = [option for folder in compiled for option in ("--copy-paths", str(folder))]
    project.dvc("exp", "run", "--queue", *copied, "-S", "epochs=3", "-S", "l2=0.04", *stages)
    # Its worker keeps its output open, long after the experiment has ended: nobody waits for that.
    start, environment = ["python", "-m", "dvc", "queue", "start"], project.environment | UNCOUNTED
    subprocess.run(start, cwd=project.folder, env=environment, stdout=DEVNULL, stderr=DEVNULL, check=True)
    end = time.monotonic() + 300
    # A finished experiment is a ref. To ask the queue would send its worker messages, in which DVC's own get lost.
    while not project.git("for-each-ref", "refs/exps/*/*/*"):
        assert time.monotonic() < end, project.dvc("queue", "status").stdout
        time.sleep(0.2)
    written = {path: path.stat().st_mtime_ns for path in project.entries()}
    assert len(written.keys() - before) == 2 * 2
    # Experiment 1 is the same, experiment 3 is not.
    project.dvc("exp", "run", "-S", "epochs=3", "-S", "l2=0.02", *stages, **UNCOUNTED)
    after = {path: path.stat().st_mtime_ns for path in project.entries()}
    assert len(after) == len(written) + 2
    assert {path: after[path] for path in written} == written


def test_other_values_of_the_grid_leave_nothing_behind(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = project.entries()
    project.set(grid={"epochs": [1, 2, 3], "l2": [0.00001, 0.01]})
    project.dvc("repro", "grid-train", **UNCOUNTED)
    # Of l2 1e-5 all lengths are new, of 0.01 the longest: 2 sizes, 2 replicas.
    assert len(project.entries() - before) == (3 + 1) * 2 * 2
    project.git("checkout", "params.yaml")
    project.dvc("repro", "grid-train", **UNCOUNTED)
    cells = {f"grid-b{size}-e{epochs}-l0.01" for size in (32, 64) for epochs in (1, 2)}
    assert set(pd.read_csv(project.folder / "reports/runs/grid/runs.csv")["run"]) == cells


def test_the_same_commit_gives_the_same_bytes_and_a_clean_status(finished: Project, tmp_path: Path):
    finished.git("clone", "-q", str(finished.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", finished.mnist)
    # With what Numba has compiled, and the dates by which it knows its sources.
    shutil.copytree(finished.folder / "nnlib", clone.folder / "nnlib", dirs_exist_ok=True)
    clone.dvc("repro", **UNCOUNTED)
    assert clone.git("status", "--short") == ""
    one, two = finished.results(), clone.results()
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_fresh_clone_has_metrics_and_a_fresh_lock_and_judges_an_edited_claim(finished: Project, tmp_path: Path):
    finished.git("clone", "-q", str(finished.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", finished.mnist)
    assert "2-exact" in clone.dvc("metrics", "show").stdout
    assert stages_that_ran(clone.dvc("repro", "--dry", "--allow-missing").stdout) == []
    study = clone.folder / "data/studies/study.yaml"
    text = study.read_text(encoding="utf-8")
    assert "high: 1.0}" in text
    study.write_text(re.sub(r"\nfrozen:.*?(?=\n\S)", "", text, flags=re.DOTALL).replace("high: 1.0}", "high: -9.0}", 1))
    before = pd.read_csv(clone.folder / "reports/verdicts/study/comparisons.csv").set_index(["claim", "comparison"])
    out = clone.dvc("repro", "--single-item", "verdicts").stdout
    assert "verdicts" in stages_that_ran(out), out
    table = pd.read_csv(clone.folder / "reports/verdicts/study/comparisons.csv").set_index(["claim", "comparison"])
    changed = table.index[(table["held"] != before["held"])]
    assert {claim for claim, _ in changed} == {"weights-stabilized"}


def test_a_run_is_an_entry_with_a_label(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    study = project.folder / "data/studies/study.yaml"
    text = study.read_text(encoding="utf-8")
    entry = "  3-strong: {added: true, settings: {batchnorm: none, L2: 0.5}}\n"
    study.write_text(text.replace("\ncells:", f"{entry}\ncells:", 1), encoding="utf-8")
    result = project.dvc("repro", check=False)
    assert "runs.3-strong.label: expected a value, it is missing" in result.stdout + result.stderr
    study.write_text(text.replace("\ncells:", entry.replace("added", "label: 3 strong, added") + "\ncells:", 1))
    before = project.entries()
    project.dvc("repro", "verdicts", **UNCOUNTED)
    assert len(project.entries() - before) == 2
    assert "3-strong" in json.loads((project.folder / "reports/summary.json").read_text())


SECOND = """
key: second
title: A second study
source: {where: made up for a test}
settings: {layers_dims: [784, 20, 10], epochs: 2, batch_size: 40, learning_rate: 0.05}
runs:
  none: {label: nothing}
  bn: {label: normalized, settings: {batchnorm: exact}}
  l2: {label: decayed, settings: {L2: 0.5}}
  bn-l2: {label: both, settings: {batchnorm: exact, L2: 0.5}}
cells: [{none: none, bn: bn, l2: l2, bn_l2: bn-l2}]
published: {none: {test_accuracy: 0.5}, bn: {test_accuracy: 0.6}}
claims:
- id: bn-helps
  says: Batch norm helps
  quote: it helps
  section: page 1
  comparisons: [{of: bn/test_accuracy, minus: none/test_accuracy, low: 0.0}]
- id: l2-shrinks
  says: L2 shrinks the weights
  quote: they shrink
  section: page 2
  comparisons: [{of: l2/std_W1, over: none/std_W1, high: 1.0}]
- id: both-best
  says: Both together are best
  quote: the best
  section: page 3
  every: true
  comparisons: [{of: bn-l2/test_accuracy, minus: l2/test_accuracy, low: 0.0}]
"""


def test_a_second_study_is_a_file(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.draw_circles()
    before = project.results()
    (project.folder / "data/studies/second.yaml").write_text(SECOND, encoding="utf-8")
    project.dvc("repro", **UNCOUNTED)
    runs = pd.read_csv(project.folder / "reports/runs/studies/second/replicas.csv")
    assert set(runs["run"]) == {"none", "bn", "l2", "bn-l2"}
    assert runs["test_accuracy"].notna().all()
    claims = pd.read_csv(project.folder / "reports/verdicts/second/claims.csv")
    assert list(claims["claim"]) == ["bn-helps", "l2-shrinks", "both-best"]
    for name in ("report.md", "report.html"):
        page = (project.folder / "reports" / name).read_text(encoding="utf-8")
        assert "A second study" in page
        assert "L2 shrinks the weights" in page
    after = project.results()
    first = [name for name in before if name.startswith(("reports/verdicts/study/", "reports/runs/experiment"))]
    assert len(first) > 20
    assert [name for name in first if before[name] != after[name]] == []


def edited(project: Project, name: str, old: str, new: str) -> None:
    path = project.folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_other_words_train_nothing_and_another_sign_trains(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before, results = project.entries(), project.results()
    edited(project, "nnlib/core/layers.py", '"""Z = W A + b.', '"""Z = W A + b, said otherwise.')
    out = project.dvc("repro", "train@experiment-1", **UNCOUNTED).stdout
    assert "train@experiment-1" in stages_that_ran(out)
    assert project.entries() == before
    assert project.results() == results
    edited(project, "nnlib/core/seeds.py", "return np.arange(examples)", "return -np.arange(examples)")
    project.dvc("repro", "train@experiment-1", **UNCOUNTED)
    assert len(project.entries() - before) == 2


def test_code_that_is_edited_while_a_stage_trains_fails_it(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    lock = (project.folder / "dvc.lock").read_bytes()
    project.set(seed=1000)
    program = project.folder / "stages/train.py"
    before, start, after = program.read_text(encoding="utf-8").partition("\n\nif __name__")
    edit = """
    import pathlib, nnlib.core.seeds, nnlib.engine.kernel  # after the edit it would be compiled anew
    file = pathlib.Path(nnlib.core.seeds.__file__)
    file.write_text(file.read_text() + '# edited')
"""
    program.write_text(before + edit + start + after, encoding="utf-8")
    result = project.dvc("repro", "--single-item", "train@experiment-1", check=False)
    assert result.returncode
    assert "nnlib/core/seeds.py changed while the stage ran" in result.stdout + result.stderr
    assert (project.folder / "dvc.lock").read_bytes() == lock


def test_plots_work_offline_and_are_nothing_to_commit(finished: Project):
    out = finished.dvc("plots", "show").stdout
    page = (finished.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert finished.git("status", "--short", "dvc_plots") == ""
    assert "index.html" in out
    assert not re.search(r'(src|href)="?https?:', page)
    assert "2 with the true derivative" in page


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
    shutil.copytree(REPOSITORY / "data/studies", tmp_path / "data/studies")
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


STUDY, PARAMS = "data/studies/study.yaml", "params.yaml"
MISTAKES = {
    "key": (
        STUDY,
        "  every: true\n",
        "  evry: true\n",
        r"data/studies/study\.yaml: claims\.0\.evry: no such entry; did",
    ),
    "quote": (
        STUDY,
        "  quote: ",
        "  note: ",
        r"data/studies/study\.yaml: claims\.0: claim batch-32-wins: expected quote",
    ),
    "run": (
        STUDY,
        "{of: experiment-3/std_W1",
        "{of: experiment-33/std_W1",
        r"study: claim l2-weight-spread: .*, got 'experiment-33'",
    ),
    "measure": (
        STUDY,
        "{of: experiment-3/std_W1",
        "{of: experiment-3/sd_W1",
        r".*: experiment-3/sd_W1: expected a measure of",
    ),
    "bound": (STUDY, "low: 0.0}", "low: '0'}", r".*comparisons\.0\.low: expected a number, got '0'"),
    "id": (
        STUDY,
        "- id: best-configuration",
        "- id: batch-32-wins",
        ".*: claims: expected an id for each, got batch-32",
    ),
    "accuracy": (
        STUDY,
        "{test_accuracy: 0.8996}",
        "{test_accuracy: 89.96}",
        r".*test_accuracy: expected a fraction from",
    ),
    "explosion": (STUDY, "    validation_cost: 878.8498\n", "", ".*explosion: expected validation_cost among"),
    "explanation": (STUDY, "  change: fan-in", "  change: fan", "explanation fan-in: expected one of .*, got 'fan'"),
    "cell": (
        STUDY,
        "{none: experiment-1,",
        "{none: experiment-0,",
        ".*cells: expected a run of .*, got 'experiment-0'",
    ),
    "setting": (
        STUDY,
        "settings: {batchnorm: exact, stopping",
        "settings: {batchnorm: exct, stopping",
        r"study: runs\.2-exact: batchnorm: ",
    ),
    "change": (
        PARAMS,
        "      initialization: he_fan_in",
        "      initialisation: x",
        r"explanations\.changes\.fan-in: study",
    ),
    "renamed": (
        PARAMS,
        "  eval_every: 100",
        "  look_every: 100",
        r"params\.yaml: .*stopping\.look_every: no such entry; it is",
    ),
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


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"batch_size": 38_401}, r"experiment-1: batch_size: expected at most the 38400 training images, got 38401"),
        ({"grid": {"batch_size": [32, 50_000]}}, r"grid-b50000-e50-l0.01: batch_size: expected at most the 38400"),
        (
            {"explanations": {"changes": {"shuffled-once": {"epochs": 0}}}},
            r"shuffled-once/.*: epochs: expected at least 1",
        ),
        ({"preprocess": {"test": 1e-9}}, r"preprocess: expected images for every set, got none for test"),
        ({"seed": 2**62 - 1}, r"seed: expected at most"),
        ({"chance": {"split_seeds": [0]}}, r"chance.split_seeds: expected others than preprocess.seed, got 0"),
        ({"chance": {"split_seeds": [1, 1]}}, r"params\.yaml: chance\.split_seeds: expected values that differ"),
    ],
    ids=str,
)
def test_what_a_later_stage_would_refuse_is_refused_before_dvc_removes_its_results(update, says, in_a_copy):
    Project(in_a_copy, in_a_copy).set(**update)
    with pytest.raises(InputError, match=f"^{says}"):
        check.main(parameters.load())


def test_check_reads_no_drawing_code_and_no_torch():
    program = (
        "import sys, stages.check; print([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert loaded == "[]\n"


def test_too_few_replicas_are_told_at_the_start(in_a_copy, capsys):
    params = parameters.load().replace(replicas=3)
    check.main(params)
    told = capsys.readouterr().out
    assert re.search(r"replicas: 3 decide no claim.*at least 1\d", told)
    assert f"chance.crossed: expected at most the 3 replicas, got {params.chance.crossed}" in told


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"replicas": 100_000}, "replicas: 100000 need about"),
        ({"batch_size": 100_000}, "batch_size: expected"),
        ({"device": "cuda"}, "params.yaml: device: expected cuda"),
    ],
    ids=str,
)
def test_what_only_the_data_or_the_machine_can_tell_is_named_before_training(update, says, finished, monkeypatch):
    import torch

    if "device" in update and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    if "replicas" in update:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**30}))
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("REPLICA_STORE", str(finished.folder / "data/replicas"))
    monkeypatch.setattr(train, "save_tensors", None)
    params = parameters.load().replace(**update)
    with pytest.raises((InputError, MemoryError), match=f"^{says}"):
        train.main(params, "experiment-1")


def test_a_letter_that_the_terminal_lacks_stops_nothing(finished: Project):
    listed = finished.run(
        sys.executable, "-m", "stages.train", "λ", check=False, PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert "got '?'" in listed.stderr


def test_the_store_is_listed_and_pruned(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    assert f"{len(project.entries())} entries" in project.python("stages.store").stdout
    project.set(l2=0.07)
    project.dvc("repro", "train@experiment-3")
    before = len(project.entries())
    assert "removed 0 of" in project.python("stages.store", "prune").stdout
    project.git("checkout", "params.yaml")

    def refused(**variables: str) -> bool:
        ended = project.python("stages.store", "prune", check=False, **variables)
        return ended.returncode == 1 and "Other clones that share the store may use them" in ended.stdout

    assert refused(REPLICA_STORE="data/replicas")
    store = project.folder / "data/replicas"
    store.rename(tmp_path / "shared")
    store.symlink_to(tmp_path / "shared")
    assert refused()
    store.unlink()
    (tmp_path / "shared").rename(store)
    assert f"removed 2 of {before} entries" in project.python("stages.store", "prune").stdout
