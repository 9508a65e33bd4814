"""Whatever else a process has set, the same settings, seed and data give the same bits, or one line says why not.

Each row is a process of its own: what it does before it imports nnlib, or the variables and options it starts with.
"""

import os
import re
import subprocess
import sys

import pytest
from pipeline import ENVIRONMENT, REPOSITORY

PROGRAM = """
import hashlib, os, sys

exec(os.environ["BEFORE"])
import numpy, torch
from nnlib import InputError, Settings, Store, accuracy, l_layer_model, train_replicas

random = numpy.random.Generator(numpy.random.Philox(0))
# Half of the inputs are 0, and the weights of the last feature decay to nothing.
X = numpy.maximum(random.standard_normal((6, 40)), 0) * [[1], [1], [1], [1], [1], [0]]
Y = numpy.eye(3)[random.integers(0, 3, 40)].T
digest = hashlib.sha256()
for batchnorm, returns in (("none", "last"), ("exact", "best")):
    stopping = {"eval_every": 7, "patience": 60, "returns": returns}
    settings = Settings(
        layers_dims=(6, 5, 4, 3),
        learning_rate=0.2,
        epochs=90,
        batch_size=8,
        L2=10.0,
        batchnorm=batchnorm,
        stopping=stopping,
    )
    sets = [(X.astype("float32"), Y), (X[:, :20].astype("float32"), Y[:, :20])]
    run = train_replicas(*sets, settings, [0, 1], store=Store("store", sys.exit))
    again = train_replicas(*sets, settings, [0, 1], store=Store("store", sys.exit))
    for each in (run, again):
        for name, value in sorted(each.tensors().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        digest.update(accuracy(*sets[0], each.parameters, batchnorm=batchnorm).numpy().tobytes())
    # The readable loop's products round in an order of their own, but are no others.
    short = settings.replace(epochs=2, L2=0.1)
    loop, _ = l_layer_model(
        *sets[0], (6, 5, 4, 3), 0.2, 2, 8, batchnorm, 0.1, validation=sets[1], stopping=stopping
    )
    run = train_replicas(*sets, short, [0])
    for name, value in loop.items():
        if not numpy.allclose(value.numpy(), run.parameters[name][0].numpy(), rtol=1e-3, atol=1e-5):
            sys.exit(f"{name} of the loop is another")
print(digest.hexdigest())
"""

IN_TORCH = {
    "default dtype float64": "torch.set_default_dtype(torch.float64)",
    "default dtype bfloat16": "torch.set_default_dtype(torch.bfloat16)",
    "default device": "torch.set_default_device('meta')",
    "seven threads": "torch.set_num_threads(7)",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "no gradients": "torch.set_grad_enabled(False)",
    "inference mode": "mode = torch.inference_mode(); mode.__enter__()",
    "fast products": "torch.set_float32_matmul_precision('medium')",
    "denormal numbers are 0": "torch.set_flush_denormal(True)",
    "seed": "torch.manual_seed(3)",
    "anomalies": "torch.autograd.set_detect_anomaly(True)",
}
BEFORE = {
    **{f"torch: {name}": f"import torch; {code}" for name, code in IN_TORCH.items()},
    "NumPy: errors raise": "import numpy; numpy.seterr(all='raise')",
    "NumPy: seed": "import numpy; numpy.random.seed(3)",
    "Python: warnings raise": "import numba, torch, warnings; warnings.simplefilter('error')",
    "Python: no garbage collection": "import gc; gc.disable()",
    "system: umask": "os.umask(0o077)",
    "system: no home": "os.environ.pop('HOME', None)",
    "system: another folder": "os.makedirs('ä b'); os.chdir('ä b')",
}
# All at once, since a Python that has imported nothing yet takes long to start. Those that make Numba compile anew are
# in test_bits, with a small program.
VARIABLES = {
    "every variable": {
        "PYTHONHASHSEED": "7",
        "PYTHONOPTIMIZE": "1",
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "tr_TR.UTF-8"},
        "TZ": "Pacific/Kiritimati",
        **{"OMP_NUM_THREADS": "5", "MKL_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "1"},
    },
}
# What is done before, variables, and the line.
REFUSED = {
    "torch: autocast": (
        "import torch; block = torch.autocast('cpu'); block.__enter__()",
        {},
        "torch.autocast: expected none, since it would compute in another precision than the arrays'",
    ),
    "Numba: nothing compiled": (
        "",
        {"NUMBA_DISABLE_JIT": "1"},
        "NUMBA_DISABLE_JIT: expected 0, since the engine's SIMD vectors are there in compiled code alone, got 1; "
        "nnlib.l_layer_model trains without Numba",
    ),
}


def run(folder, before="", variables=None):
    """What a process prints. One that has imported the libraries already starts at once, but has read its variables."""
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY), "BEFORE": before} | (variables or {})
    command = [sys.executable if variables else "python", "-m", "program"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def bits(tmp_path_factory, quick_python):
    ended = run(tmp_path_factory.mktemp("plain"))
    assert re.fullmatch(r"[0-9a-f]{64}\n", ended.stdout), ended
    return ended.stdout


@pytest.mark.parametrize("name", [*BEFORE, *VARIABLES])
def test_the_bits_are_those_of_a_process_that_has_nothing_set(name, bits, tmp_path):
    ended = run(tmp_path, BEFORE.get(name, ""), VARIABLES.get(name))
    assert ended.stdout == bits, ended


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_them_is_refused_in_one_line(name, quick_python, tmp_path):
    before, variables, line = REFUSED[name]
    ended = run(tmp_path, before, variables)
    assert ended.stderr.splitlines()[-1] == f"nnlib.errors.InputError: {line}"
    assert ended.returncode == 1
