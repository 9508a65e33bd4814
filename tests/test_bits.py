"""The same bits on every x86-64 level and with Numba's variables: each is a process of its own."""

import math
import os
import platform
import shutil
import subprocess
import sys

import pytest
from llvmlite.binding import get_host_cpu_features
from pipeline import ENVIRONMENT, REPOSITORY

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the levels of x86-64")

LEVELS = {
    "host": {},
    "v4": {"NUMBA_CPU_NAME": "x86-64-v4", "NUMBA_CPU_FEATURES": ""},
    "v3": {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "", "ATEN_CPU_CAPABILITY": "avx2"},
    "v2": {
        "NUMBA_CPU_NAME": "x86-64-v2",
        "NUMBA_CPU_FEATURES": "",
        "ATEN_CPU_CAPABILITY": "default",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
    },
}

PROGRAM = """
import hashlib

import torch

from nnlib import Settings, accuracy, train_replicas
from nnlib.engine.run import HISTORY

random = torch.Generator().manual_seed(0)
X = torch.randint(-300, 256, (784, 200), generator=random).clamp(min=0) / 255
Y = torch.nn.functional.one_hot(torch.randint(0, 10, (200,), generator=random), 10).T.float()
base = Settings(layers_dims=(784, 20, 7, 5, 10), epochs=3, batch_size=32, L2=0.01, stopping={"eval_every": 3})
digest = hashlib.sha256()
momentum = {"batchnorm": "exact", "optimizer": "momentum"}
for own in ({}, {"batchnorm": "straight_through"}, {"batchnorm": "exact"}, momentum, {"learning_rate": 1e30}):
    settings = base.replace(**own)
    run = train_replicas((X, Y), (X[:, :90], Y[:, :90]), settings, range(2), threads=1)
    right = accuracy(X, Y, run.parameters, batchnorm=settings.batchnorm)
    for array in (*run.parameters.values(), *(getattr(run, name) for name in HISTORY), run.diverged_at, right):
        digest.update(array.contiguous().numpy().tobytes())
print(digest.hexdigest())
"""


def test_every_level_of_x86_64_gives_the_same_bits(tmp_path, quick_python):
    (tmp_path / "program.py").write_text(PROGRAM)
    processes = {
        level: subprocess.Popen(
            # A library asks what it may compute for as it is imported, and the quick `python` has imported them all.
            [sys.executable if variables else "python", "-m", "program"],
            cwd=tmp_path,
            env=os.environ | {"PATH": ENVIRONMENT["PATH"], "PYTHONPATH": str(REPOSITORY)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for level, variables in LEVELS.items()
        if level != "v4" or get_host_cpu_features().get("avx512f")
    }
    printed = {level: process.communicate() for level, process in processes.items()}
    assert all(len(out.strip()) == 64 for out, _ in printed.values()), printed
    assert len({out for out, _ in printed.values()}) == 1, printed


SMALL_PROGRAM = """
import numpy as np
from nnlib.engine.functions import exp
from nnlib.engine.jit import compiled
from nnlib.engine.simd import lanes, load, store

@compiled
def power(array, like):
    store(array, 0, exp(load(array, 0, like)))

array = np.ones(16, np.float32)
power(array, lanes(16))
print(array[0])
"""


@pytest.fixture
def power(tmp_path, quick_python):
    """What a small compiled program prints that stands, with the engine, in a folder of its own."""
    shutil.copytree(REPOSITORY / "nnlib", tmp_path / "nnlib", copy_function=shutil.copy2)
    program = tmp_path / "power.py"
    program.write_text(SMALL_PROGRAM)

    def run(before: str = "", python: str = "python", **variables: str) -> float:
        start = tmp_path / "start.py"
        start.write_text(f"{before}\nimport power")
        environment = os.environ | ENVIRONMENT | variables
        ran = subprocess.run([python, "-m", "start"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert not ran.stderr
        return float(ran.stdout)

    return run


def test_a_cache_folder_that_cannot_be_written_costs_a_compilation_and_no_error(power, tmp_path):
    nowhere = """
from numba.core import caching

def refuse(self):
    raise PermissionError("read-only")

caching._CacheLocator.ensure_cache_path = refuse
"""
    assert power(nowhere) == pytest.approx(math.e)
    assert not list(tmp_path.glob("__pycache__/*.nbi"))
    assert power() == power(nowhere)
    assert list(tmp_path.glob("__pycache__/*.nbi"))


def test_compiled_code_is_never_that_of_another_source(power, tmp_path):
    """Numba asks only whether the function's own file has changed."""
    before = power()
    functions = tmp_path / "nnlib/engine/functions.py"
    text = functions.read_text(encoding="utf-8")
    functions.write_text(text.replace("fma(series, r, coefficient)", "fma(series, r, coefficient) + coefficient"))
    assert power() != before
    functions.write_text(text)
    assert power() == before


@pytest.mark.parametrize("imported", ["nnlib", "nnlib.engine.functions"], ids=["edited code", "the code before"])
def test_a_program_whose_code_was_edited_while_it_ran_keeps_nothing_that_it_compiled(imported, power, tmp_path):
    edit = f"""
import atexit, pathlib
import {imported}

functions = pathlib.Path("nnlib/engine/functions.py")
text = functions.read_text(encoding="utf-8")
functions.write_text(text.replace("fma(series, r, coefficient)", "fma(series, r, coefficient) + coefficient"))
atexit.register(functions.write_text, text)
"""
    assert (power(edit) == pytest.approx(math.e)) == (imported != "nnlib")
    assert not list(tmp_path.glob("__pycache__/*.nbi"))
    assert power() == pytest.approx(math.e)


def test_without_compilation_one_line_says_that_there_are_no_vectors():
    command = [sys.executable, "-c", "import nnlib.engine.compiled"]
    ran = subprocess.run(command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("nnlib.errors.InputError: NUMBA_DISABLE_JIT: expected 0")


@pytest.mark.parametrize("variables", [{"NUMBA_DEBUGINFO": "1"}, {"NUMBA_OPT": "0", "NUMBA_BOUNDSCHECK": "1"}], ids=str)
def test_what_is_compiled_otherwise_computes_the_same(variables, power):
    assert power(python=sys.executable, NUMBA_CACHE_DIR="otherwise", **variables) == power()
