"""The whole pipeline in small: real MNIST, real `dvc`, but few images, two replicas, few epochs."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
TINY = {
    "replicas": 2,
    "threads": 1,
    "epochs": 2,
    "learning_rate": 0.1,
    "preprocess": {"examples": 1600, "validation": 0.25},
    "grid": {"batch_size": [32, 64], "epochs": [1, 2], "l2": [0.01]},
    "stopping": {"eval_every": 5},
    "explanations": {"replicas": 2},
    "chance": {"split_seeds": [1], "split_replicas": 2, "crossed": 2},
    "reports": {"replicas": 1, "most_epochs": 1},
    "evidence": {"resamples": 50},
}
# Of the other studies in data/studies, those that the tests train.
OTHERS = {"np-512-exact", "twin-32"}
# Of every program that a test starts; `python` is the one that runs the tests.
ENVIRONMENT = {
    "DVC_NO_ANALYTICS": "1",
    # Whatever the user's own git does.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# As well, of a program that does again what a counted one does: where lines are counted it takes a third of the time.
UNCOUNTED = {"COVERAGE_PROCESS_CONFIG": ""}
SHARED = {("data", "raw"), (".dvc", "cache")}
CIRCLES = """

drawn = svg


def svg(draw, *said):
    return drawn(draw, *said) if type(draw.__self__).__name__ in {but} else '<svg viewBox="0 0 2 2"/>' + 400 * " "
"""

Ended = subprocess.CompletedProcess[str]


class Project:
    """A copy of the repository in a folder of its own, with git, DVC and small parameters."""

    def __init__(self, folder: Path, mnist: Path) -> None:
        self.folder = folder
        self.mnist = mnist

    @classmethod
    def create(cls, folder: Path, mnist: Path) -> Project:
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, text=True)
        # What Numba has compiled goes along, with its sources' dates: compiling takes longer than all that is trained.
        compiled = [str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "nnlib").rglob("__pycache__/*.nb[ic]")]
        for name in [*listed.split(), *compiled]:
            path = Path(name)
            other = path.parts[:2] == ("data", "studies") and path.suffix == ".yaml" and path.stem != "study"
            if name.startswith("reports/") or name == "dvc.lock" or (other and path.stem not in OTHERS):
                continue
            if (REPOSITORY / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, folder / name)
        # So that no program compiles what the copies of this folder have not changed, which a hash decides.
        for package in ("nnlib", "stages"):
            compileall.compile_dir(folder / package, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        project = cls(folder, mnist)
        project.set(**TINY)
        (folder / "reports/first-half").mkdir(parents=True)
        (folder / "reports/first-half/claims.csv").write_text("claim,verdict\n")
        project.git("init", "-q", "-b", "main")
        project.git("config", "user.name", "test")
        project.git("config", "user.email", "test@localhost")
        project.commit("start")
        return project

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | ENVIRONMENT | {"MNIST_DIR": str(self.mnist)}

    def copy(self, folder: Path) -> Project:
        """A copy that shares the bytes of the images and of DVC's cache, in which nothing is written a second time."""

        def take(source: str, target: str) -> None:
            shared = Path(source).relative_to(self.folder).parts[:2] in SHARED
            (os.link if shared else shutil.copy2)(source, target)

        shutil.copytree(self.folder, folder, symlinks=True, copy_function=take)
        return Project(folder, self.mnist)

    def set(self, **changes: object) -> None:
        path, yaml = self.folder / "params.yaml", YAML()
        params = yaml.load(path)
        for name, value in changes.items():
            if isinstance(value, dict):
                params[name].update(value)
            else:
                params[name] = value
        yaml.dump(params, path)

    def draw_circles(self, *but: str) -> None:
        """In place of figures, for a test of something else, but for these drawings: drawing takes nearly all of the
        report's time. No file of theirs fits a disk that the tests call full."""
        with (self.folder / "stages/reporting/catalogue.py").open("a", encoding="utf-8") as file:
            file.write(CIRCLES.format(but=but))

    def run(self, *command: str, check: bool = True, **environment: str) -> Ended:
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        if check and result.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
        return result

    def python(self, module: str, *arguments: str, check: bool = True, **environment: str) -> Ended:
        return self.run("python", "-m", module, *arguments, check=check, **environment)

    def dvc(self, *arguments: str, check: bool = True, **environment: str) -> Ended:
        return self.python("dvc", *arguments, check=check, **environment)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def results(self) -> dict[str, bytes]:
        """Every result file by name."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for top in ("data/models", "data/processed", "reports")
            for path in sorted((self.folder / top).rglob("*"))
            if path.is_file() and path.name != ".gitignore"
        }

    def entries(self) -> set[Path]:
        """The replicas in the store."""
        return set((self.folder / "data" / "replicas").rglob("*.safetensors"))


def run_program(folder: Path, text: str, *arguments: str) -> Ended:
    """Run a program in the folder, to which it is written, with this repository's nnlib and what its tests share."""
    (folder / "program.py").write_text(text, encoding="utf-8")
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"}
    command = ["python", "-m", "program", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def stages_that_ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
