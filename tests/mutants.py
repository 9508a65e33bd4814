"""Mutation testing: does a test fail when an operator, a number or a condition of nnlib is another?

    pip install -e ".[dev,mutants]"
    python tests/mutants.py nnlib/core/layers.py nnlib/evidence [--processes 2]

cosmic-ray changes a module in one place at a time. The tests of that module run in a fork of this process, which has
imported what nnlib and the tests need, but nothing of theirs: the changed module is then the only one that there is. No
file is touched. The mutants that all tests let live are printed.
"""

import argparse
import ast
import difflib
import importlib
import importlib.util
import os
import re
import resource
import signal
import sys
import tempfile
import time
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numba
import pytest
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

# The tests that hold each module, those that find most first.
TESTS = {
    "nnlib/arrays.py": "validation layers model training",
    "nnlib/records.py": "records validation parameters dataset study",
    "nnlib/source.py": "store",
    "nnlib/validation.py": "validation layers model training",
    "nnlib/core/seeds.py": "seeds",
    "nnlib/core/settings.py": "validation records training model store",
    "nnlib/core/optimizers.py": "model engine",
    "nnlib/core/layers.py": "layers model validation training engine",
    "nnlib/core/model.py": "model layers validation training",
    "nnlib/core/training.py": "training validation engine",
    "nnlib/gradients.py": "gradients",
    "nnlib/evidence/statistics.py": "statistics claims verdicts",
    "nnlib/evidence/claims.py": "claims judgement verdicts",
    "nnlib/evidence/probability.py": "probability verdicts",
    "nnlib/evidence/fidelity.py": "fidelity judgement verdicts",
    "nnlib/evidence/judgement.py": "judgement claims verdicts",
    "nnlib/evidence/tables.py": "judgement claims verdicts",
    "nnlib/evidence/reports.py": "reports verdicts",
    "nnlib/evidence/study.py": "study claims reports",
    "nnlib/evidence": "measures judgement verdicts",
    "nnlib/replicas/store.py": "store",
    "nnlib/engine/run.py": "engine store training measures",
    "nnlib/replicas/cluster.py": "cluster",
    "nnlib/replicas/train.py": "store engine validation",
    "nnlib/replicas/prepared.py": "measures validation store",
    "nnlib/replicas/evaluate.py": "validation measures engine",
    "nnlib/replicas": "engine validation",
    "nnlib/check": "check",
    "nnlib/engine": "engine",
}
# Modules whose functions Numba compiles: each mutant of them anew, some seconds.
COMPILED = ("functions", "kernel", "layout", "simd")
# Left out: tests that start programs, which would read the files as they are, and take long.
SLOW = "not two_processes and not x86_64 and not cache_folder"

# What takes long to import; the forks find it imported.
NEEDED = """torch numba numpy pandas scipy.stats statsmodels.api pydantic.main ruamel.yaml safetensors.torch
matplotlib.pyplot distributed hypothesis.strategies xdist.plugin pytest_cov.plugin selenium.webdriver.chrome.webdriver
filelock pdb"""

# What an operator is replaced by: of all that cosmic-ray knows those that are near, since others fail on any test.
NEAR = {
    "Binary": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Div Mod_FloorDiv Pow_Mul "
    "BitAnd_BitOr BitOr_BitAnd BitXor_BitAnd LShift_RShift RShift_LShift",
    "Comparison": "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt "
    "Is_IsNot IsNot_Is In_NotIn NotIn_In",
    "Unary": "Delete_USub Delete_Invert Delete_Not",
}


def near(operator):
    """Whether a change is worth a run."""
    replaced = re.fullmatch(r"core/Replace(\w+)Operator_(\w+)", operator)
    return not replaced or replaced[2] in NEAR[replaced[1]].split()


class Places(Visitor):
    """The places of a module that an operator would change; of each, whether a test could see it."""

    def __init__(self, operator, annotations):
        self.operator, self.annotations, self.found = operator, annotations, []

    def visit(self, node):
        for start, _ in self.operator.mutation_positions(node):
            # zip's guard, and the star before parameters that have names only.
            guard = node.parent.get_code().strip() == "strict=True" or node.parent.type == "parameters"
            self.found.append(not guard and not any(first <= start < end for first, end in self.annotations))
        return node


def mutants(source):
    """Every (operator, mutated source)."""
    tree = [*ast.walk(ast.parse(source))]
    nodes = [getattr(node, name, None) for node in tree for name in ("annotation", "returns")]
    nodes += [node for node in tree if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    annotations = [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n]
    for name in sorted(filter(near, operator_names())):
        try:
            operator = get_operator(name)()
        except TypeError:  # needs arguments
            continue
        places = Places(operator, annotations)
        places.walk(get_ast(source))
        for occurrence in (number for number, counts in enumerate(places.found) if counts):
            mutated = mutate_code(source, operator, occurrence)
            with suppress(SyntaxError):  # {*a} for {**a}
                if ast.dump(ast.parse(mutated)) != ast.dump(tree[0]):  # 1e+38 is 1e38
                    yield name, mutated


class Mutant(SourceFileLoader):
    """Loads a module from other source, and finds no other module."""

    def __init__(self, name, path, source):
        super().__init__(name, str(path))
        self.source = source

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec", dont_inherit=True)

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None


def run_tests(tests):
    """Run files of tests in this process, one after the other; whether one failed."""
    options = ["-qx", "-n0", "-pno:cacheprovider", "--no-header", "--tb=no", "-k", SLOW]
    return any(pytest.main([*options, str(ROOT / f"tests/test_{name}.py")]) for name in [*tests.split(), "records"])


def fork(task):
    """Start a process of its own group that does the task and ends with its result."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        os._exit(bool(task()))
    finally:
        os._exit(2)


def survivors(path, tests, processes, every, skip):
    """Test every mutant of a module: how many there are, how many took too long, and those that lived."""
    source, module = path.read_text(encoding="utf-8"), ".".join(path.relative_to(ROOT).with_suffix("").parts)

    def task(mutated):
        def test():
            if path.stem in COMPILED:
                numba.config.CACHE_DIR = tempfile.mkdtemp()
            sys.meta_path.insert(0, Mutant(module, path, mutated))
            return run_tests(tests) or module not in sys.modules

        return test

    began = time.monotonic()
    _, status = os.waitpid(fork(task(source)), 0)
    if status:
        sys.exit(f"{path}: its tests fail without a mutant, or do not import it")
    limit = 60 + 3 * (time.monotonic() - began)
    waiting, running, lived, late = list(mutants(source))[skip::every][::-1], {}, [], 0
    total, bar = len(waiting), tqdm(total=len(waiting), desc=path.stem, mininterval=30, miniters=1)
    while waiting or running:
        while waiting and len(running) < processes:
            operator, mutated = waiting.pop()
            running[fork(task(mutated))] = operator, mutated, time.monotonic() + limit
        time.sleep(0.02)
        for child, (operator, mutated, end) in list(running.items()):
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                late += 1
            ended, status = os.waitpid(child, 0 if time.monotonic() > end else os.WNOHANG)
            if ended:
                del running[child]
                bar.update()
                if status == 0:
                    lived.append((operator, mutated))
                    print("\n".join(difference(path, operator, source, mutated)), flush=True)
    bar.close()
    return total, late, lived


def difference(path, operator, source, mutated):
    """What a mutant changed."""
    before, after = source.splitlines(), mutated.splitlines()
    yield f"survivor: {path.relative_to(ROOT)} {operator}"
    for line in difflib.unified_diff(before, after, n=0, lineterm=""):
        if not line.startswith(("---", "+++")):
            yield f"    {line}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a module of nnlib, or a folder of them")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="try only every so many of the mutants")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many at the start")
    arguments = parser.parse_args()
    for name in NEEDED.split():
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.tempdir
        for given in arguments.paths:
            for path in sorted(given.resolve().rglob("*.py")) if given.is_dir() else [given.resolve()]:
                name = path.relative_to(ROOT).as_posix()
                tests = TESTS.get(name) or TESTS.get(str(Path(name).parent))
                if tests and path.name != "__init__.py":
                    total, late, lived = survivors(path, tests, arguments.processes, arguments.every, arguments.skip)
                    print(f"{name}: {total} mutants, {len(lived)} survived, {late} ran out of time", flush=True)
                elif not given.is_dir():
                    parser.error(f"{name}: expected a module with an entry in TESTS, got one without")


if __name__ == "__main__":
    main()
