"""nnlib.check: right functions are called right, known mistakes by their name, and everything else different."""

import ast
import importlib
import inspect
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import ENVIRONMENT

import nnlib
from nnlib.check import check, check_files, reference, undisturbed
from nnlib.check.__main__ import main
from nnlib.check.cases import cases
from nnlib.check.judge import RIGHT, Judge
from nnlib.check.report import distance, known
from nnlib.check.solution import TABLE
from nnlib.errors import InputError
from nnlib.evidence.mistakes import MISTAKES, TOO_SMALL

HERE = Path(__file__).parent
SOLUTIONS = HERE / "solutions"


def solution(name):
    return importlib.import_module(f"solutions.{name}")


COLUMNS = vars(solution("columns"))
NNLIB = dict(inspect.getmembers(nnlib))


def judged(functions, *names):
    """The verdicts on some functions of a solution."""
    with undisturbed():
        judge = Judge(functions)
        return [judge.judge(name) for name in names]


# The right functions


def array(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


A, W, b, Z, dZ, Y = (
    array(1, 4, 7),
    array(2, 3, 4),
    array(3, 3, 1),
    array(4, 3, 7),
    array(5, 3, 7),
    np.eye(3)[:, [0, 1, 2] * 2 + [0]],
)
NETWORK = [(array(6, 5, 4), array(7, 5, 1)), (W[:, :1] @ array(8, 1, 5) + array(9, 3, 5), b)]
PARAMETERS = {f"{'Wb'[k % 2]}{k // 2 + 1}": value for k, value in enumerate(sum(NETWORK, ()))}
PARTS = {name: RIGHT[name] for name in ("linear_forward", "relu", "softmax", "linear_backward", "relu_backward")}
PARTS["apply_batchnorm"] = lambda A: reference.apply_batchnorm(A, epsilon=1e-8)


def backward_of_nnlib(L2):
    AL, caches = nnlib.l_model_forward(A, PARAMETERS, "exact")
    grads = nnlib.l_model_backward(AL, Y, caches, L2)
    return [grads[f"d{name}"] for name in PARAMETERS]


PAIRS = {
    "linear_forward": (lambda: nnlib.linear_forward(A, W, b)[0], lambda: reference.linear_forward(A, W, b)),
    "relu": (lambda: nnlib.relu(Z)[0], lambda: reference.relu(Z)),
    "softmax": (lambda: nnlib.softmax(Z)[0], lambda: reference.softmax(Z)),
    "apply_batchnorm": (lambda: nnlib.apply_batchnorm(A, 0.01), lambda: reference.apply_batchnorm(A, epsilon=0.01)),
    "linear_activation_forward": (
        lambda: nnlib.linear_activation_forward(A, W, b, "relu")[0],
        lambda: reference.linear_activation_forward(A, W, b, "relu", parts=PARTS),
    ),
    "l_model_forward": (
        lambda: nnlib.l_model_forward(A, PARAMETERS, "exact")[0],
        lambda: reference.l_model_forward(A, NETWORK, True, "softmax", parts=PARTS),
    ),
    "compute_cost": (
        lambda: nnlib.compute_cost(nnlib.softmax(Z)[0], Y, PARAMETERS, 0.3),
        lambda: reference.compute_cost(reference.softmax(Z), Y, NETWORK, 0.3, epsilon=0),
    ),
    "linear_backward": (
        lambda: nnlib.linear_backward(dZ, (A, W, b), 0.3),
        lambda: reference.linear_backward(dZ, A, W, b, 0.3),
    ),
    "relu_backward": (lambda: nnlib.relu_backward(dZ, Z), lambda: reference.relu_backward(dZ, Z)),
    "softmax_backward": (lambda: nnlib.softmax_backward(dZ, Z), lambda: reference.softmax_backward(dZ, Z, Y)),
    "batchnorm_backward": (
        lambda: nnlib.exact_batchnorm_backward(Z, dZ),
        lambda: reference.batchnorm_backward(Z, dZ, parts=PARTS),
    ),
    "linear_activation_backward": (
        lambda: nnlib.linear_activation_backward(dZ, ((A, W, b), Z), "relu", 0.3),
        lambda: reference.linear_backward(reference.relu_backward(dZ, Z), A, W, b, 0.3),
    ),
    "l_model_backward": (
        lambda: backward_of_nnlib(0.3),
        lambda: reference.l_model_backward(A, Y, NETWORK, True, "softmax", 0.3, parts=PARTS),
    ),
    "update_parameters": (
        lambda: list(
            nnlib.update_parameters(PARAMETERS, {f"d{k}": v + 1 for k, v in PARAMETERS.items()}, 0.1).values()
        ),
        lambda: reference.update_parameters(NETWORK, [value + 1 for value in sum(NETWORK, ())], 0.1, 7),
    ),
    "predict": (
        lambda: nnlib.predict(A, Y, PARAMETERS),
        lambda: reference.predict(A, Y, NETWORK, False, "softmax", parts=PARTS),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_without_keywords_the_reference_is_nnlib(name):
    of_nnlib, of_reference = (function() for function in PAIRS[name])
    several = isinstance(of_nnlib, list | tuple)
    for expected, got in zip(
        of_nnlib if several else [of_nnlib], of_reference if several else [of_reference], strict=True
    ):
        np.testing.assert_allclose(got, np.asarray(expected), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["columns", "rows", "sigmoid"])
def test_right_solutions_are_right(name):
    report = check(solution(name))
    assert report, str(report)
    assert len(report.verdicts) - len(report.missing) >= 15


@pytest.mark.parametrize(("derivative", "mistakes"), [("exact", []), ("straight_through", ["derivative left out"])])
def test_nnlib_with_its_two_derivatives_of_batch_norm(derivative, mistakes):
    assert check(nnlib)
    functions = NNLIB | {
        "l_model_forward": lambda X, parameters, use_batchnorm: nnlib.l_model_forward(
            X, parameters, derivative if use_batchnorm else "none"
        ),
        "l_model_backward": lambda AL, Y, caches, L2: nnlib.l_model_backward(AL, Y, caches, L2, batchnorm=derivative),
    }
    forward, backward = judged(functions, "l_model_forward", "l_model_backward")
    assert (forward.status, backward.mistakes) == ("right", mistakes)


# Known mistakes

VARIANTS = [
    (name, mistake)
    for name in RIGHT
    for mistake, entry in TABLE[name].get("mistakes", {}).items()
    if "makes" in entry and name != "cost_with_l2"
]


@pytest.mark.parametrize("name", [*dict(VARIANTS), "cost_with_l2"])
def test_the_inputs_tell_all_variants_apart(name):
    judge = Judge(COLUMNS)
    makes = {"right": {}} | {mistake: entry["makes"] for mistake, entry in TABLE[name]["mistakes"].items()}
    if name == "cost_with_l2":
        makes = {mistake: one for mistake, one in makes.items() if mistake.startswith("L2") or mistake == "right"}
    results = {
        mistake: [judge.expected(name, case, one, judge.right) for case in cases(name, "softmax")]
        for mistake, one in makes.items()
    }
    for (one, first), (other, second) in itertools.combinations(results.items(), 2):
        apart = max(distance(*pair) for pairs in zip(first, second, strict=True) for pair in zip(*pairs, strict=True))
        assert apart > 1e-3, f"{one} and {other}"


def network_of(parameters):
    values = list(parameters.values())
    return list(zip(values[::2], values[1::2], strict=True))


def named(values, prefix=""):
    return {f"{prefix}{'Wb'[k % 2]}{k // 2 + 1}": value for k, value in enumerate(values)}


def with_mistake(name, **makes):
    """The right solution with one function replaced by the reference's, with a mistake."""
    right = getattr(reference, name)

    def model_forward(X, parameters, use_batchnorm):
        network = network_of(parameters)
        AL = reference.l_model_forward(
            X, network, use_batchnorm, "softmax", parts=PARTS, **(makes if name == "l_model_forward" else {})
        )
        return AL, [X, network, use_batchnorm]

    functions = {
        "linear_forward": lambda A, W, b: (right(A, W, b, **makes), (A, W, b)),
        "softmax": lambda Z: (right(Z, **makes), Z),
        "apply_batchnorm": lambda A: right(A, **{"epsilon": 1e-8} | makes),
        "compute_cost": lambda AL, Y, parameters, lambd: right(
            AL, Y, network_of(parameters), lambd, **{"epsilon": 1e-8} | makes
        ),
        "linear_backward": lambda dZ, cache, lambd=0.0: right(dZ, *cache, lambd, **makes),
        "relu_backward": lambda dA, activation_cache: right(dA, activation_cache, **makes),
        "softmax_backward": lambda dA, activation_cache: right(dA, activation_cache, None, **makes),
        "batchnorm_backward": lambda dA_norm, A: right(dA_norm, A, parts=PARTS, **makes),
        "l_model_forward": model_forward,
        "l_model_backward": lambda AL, Y, caches, lambd=0.0: named(
            right(caches[0], Y, caches[1], caches[2], "softmax", lambd, parts=PARTS, **makes), "d"
        ),
        "update_parameters": lambda parameters, grads, learning_rate: named(
            right(network_of(parameters), [grads[f"d{key}"] for key in parameters], learning_rate, 1, **makes)
        ),
        "predict": lambda X, Y, parameters, use_batchnorm: right(
            X, Y, network_of(parameters), use_batchnorm, "softmax", parts=PARTS, **makes
        ),
    }
    if makes == {"decay": "sum"}:
        functions["update_parameters"] = lambda parameters, grads, learning_rate, lambd: {
            key: value - learning_rate * (grads[f"d{key}"] + (lambd * value if key[0] == "W" else 0))
            for key, value in parameters.items()
        }
    replaced = {name: functions[name]}
    if name == "l_model_backward":
        replaced["l_model_forward"] = model_forward
    # What l_model_backward makes up for is no mistake.
    replaced |= {"l_model_backward": None} if name == "linear_backward" else {}
    return COLUMNS | replaced


@pytest.mark.parametrize(("name", "mistake"), VARIANTS)
def test_known_mistakes_are_called_by_their_names(name, mistake):
    (verdict,) = judged(with_mistake(name, **TABLE[name]["mistakes"][mistake]["makes"]), name)
    assert verdict.mistakes == [mistake]
    assert verdict.status == ("right" if known(name)[mistake].get("remark") else "known mistake")


def test_several_mistakes_in_one_function():
    wrong = {"axis": 0, "bracket": False, "variance": "unbiased"}
    (verdict,) = judged(with_mistake("apply_batchnorm", **wrong), "apply_batchnorm")
    assert set(verdict.mistakes) == {"normalized over the wrong axis", "missing brackets", "unbiased variance"}


def test_a_mistake_is_reported_where_it_is_made_and_not_where_it_is_used():
    names = "apply_batchnorm", "l_model_forward", "l_model_backward", "predict"
    functions = check_file_with("columns", "A.var(axis=1, keepdims=True)", "A.std(axis=1, keepdims=True)")
    assert [verdict.status for verdict in judged(functions, *names)] == ["different", "right", "different", "right"]


def check_file_with(name, old, new):
    """The functions of a solution, changed in its text."""
    source = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    assert old in source
    functions = {}
    exec(source.replace(old, new), functions)
    return functions


def initialized(draw):
    def initialize_parameters(layer_dims):
        pairs = enumerate(itertools.pairwise(layer_dims), start=1)
        return {key: value for k, (n, out) in pairs for key, value in draw(k, out, n).items()}

    return initialize_parameters


@pytest.mark.parametrize(
    ("draw", "mistakes"),
    [
        (lambda k, out, n: {f"W{k}": np.zeros((out, n)), f"b{k}": np.zeros((out, 1))}, ["all weights equal"]),
        (lambda k, out, n: {f"W{k}": array(k, out, n), f"b{k}": np.zeros((out, 1))}, ["large initial weights"]),
        (lambda k, out, n: {f"W{k}": array(k, out, n) / 9, f"b{k}": np.ones((out, 1))}, ["biases not zero"]),
    ],
)
def test_first_parameters(draw, mistakes):
    (verdict,) = judged({"initialize_parameters": initialized(draw)}, "initialize_parameters")
    assert verdict.mistakes == mistakes


@pytest.mark.parametrize(
    ("old", "new", "function", "mistake"),
    [
        (
            "caches, lambd)\n            parameters",
            "caches)\n            parameters",
            "l_layer_model",
            "L2 makes no difference",
        ),
        (
            "X_batch, parameters, use_batchnorm)",
            "X_batch, parameters)",
            "l_layer_model",
            "batch norm makes no difference",
        ),
        ("parameters = update", "update", "l_layer_model", "does not learn"),
        ("np.log(AL + 1e-8)", "np.log(AL)", "compute_cost", "no guard of the logarithm"),
        ("m = A_prev.shape[1]", "m = 1", "linear_backward", "summed gradients"),
        ("softmax(Z) if", "relu(Z) if", "linear_activation_forward", None),
        ("lambd / m * W", "lambd * W / 2", "linear_backward", None),
        ("value - learning_rate", "value - 2 * learning_rate", "update_parameters", None),
    ],
)
def test_small_changes_of_a_right_solution(old, new, function, mistake):
    (verdict,) = judged(check_file_with("columns", old, new), function)
    assert (verdict.status, verdict.mistakes[:1]) == (("known mistake", [mistake]) if mistake else ("different", []))


def test_lambda_in_the_cost_alone():
    functions = dict(COLUMNS)
    del functions["l_layer_model"]
    for name in ("linear_backward", "linear_activation_backward", "l_model_backward"):
        functions[name] = lambda *arguments, name=name: COLUMNS[name](*arguments)
    functions["linear_backward"] = lambda dZ, cache: COLUMNS["linear_backward"](dZ, cache)
    functions["l_model_backward"] = lambda AL, Y, caches: COLUMNS["l_model_backward"](AL, Y, caches)
    (verdict,) = judged(functions, "l_model_backward")
    assert verdict.mistakes == ["λ only in the cost"]


# Whatever else is changed

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.Gt: ast.Lt,
}


class Change(ast.NodeTransformer):
    """Another operator or number in one place."""

    def __init__(self, place):
        self.place = place

    def here(self):
        self.place -= 1
        return self.place == -1

    def visit_BinOp(self, node):
        if type(node.op) in OPERATORS and self.here():
            node.op = OPERATORS[type(node.op)]()
        return self.generic_visit(node)

    def visit_Compare(self, node):
        if type(node.ops[0]) in OPERATORS and self.here():
            node.ops = [OPERATORS[type(node.ops[0])]()]
        return self.generic_visit(node)

    def visit_Constant(self, node):
        if type(node.value) is int and self.here():
            node.value += 1
        return node


def changed(function, place):
    """A function of nnlib with a change, or None if it has fewer places."""
    module = inspect.getmodule(inspect.unwrap(function))
    tree, change = ast.parse(inspect.getsource(function)), Change(place)
    # Its defaults and its checks of arguments stay.
    tree.body[0].body = [change.visit(node) for node in tree.body[0].body]
    if change.place >= 0:
        return None
    names = dict(vars(module))
    exec(compile(tree, "<changed>", "exec"), names)
    return names[function.__name__]


CHANGED = {name: function for name, (function, _) in PAIRS.items() if hasattr(nnlib, name)}


def results(name):
    try:
        found = CHANGED[name]()
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError):
        return None
    return [np.asarray(one) for one in (found if isinstance(found, list | tuple) else [found])]


@pytest.mark.parametrize("name", [name for name in sorted(CHANGED) if changed(getattr(nnlib, name), 0)])
def test_a_changed_function_of_nnlib_is_never_right(name):
    """Changed in each of its places. Whether a change makes a difference, numbers say that the checker does not use."""
    before, sound = results(name), getattr(nnlib, name)
    for place in itertools.count():
        function = changed(sound, place)
        if function is None:
            break
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nnlib, name, function)
            after = results(name)
        if after is not None and all(
            np.shape(a) == np.shape(b) and np.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=False)
        ):
            continue
        (verdict,) = judged(NNLIB | {name: function}, name)
        assert verdict.status in ("known mistake", "different", "not judged"), place
        if verdict.status == "different":
            assert any(
                distance(np.array(verdict.got[key], float), np.array(right, float)) > 1e-6
                for key, right in verdict.expected.items()
            ), place


@given(
    st.sampled_from([name for name in RIGHT if name in COLUMNS and name not in ("predict", "batchnorm_backward")]),
    st.data(),
)
def test_a_result_that_is_a_little_off_is_never_right(name, data):
    kind = data.draw(st.sampled_from(["scaled", "shifted", "one entry"]))
    size = data.draw(st.floats(0.01, 2)) * data.draw(st.sampled_from([-1, 1]))

    def spoil(value):
        if isinstance(value, dict):
            return {key: spoil(one) for key, one in value.items()}
        entry = np.zeros_like(value, dtype=float)
        entry[(0,) * np.ndim(value)] = size
        return {"scaled": value * (1 + size), "shifted": value + size, "one entry": value + entry}[kind]

    def function(*arguments, **more):
        result = COLUMNS[name](*arguments, **more)
        return (spoil(result[0]), *result[1:]) if isinstance(result, tuple) else spoil(result)

    function.__signature__ = inspect.signature(COLUMNS[name])
    (verdict,) = judged(COLUMNS | {name: function}, name)
    assert verdict.status in ("known mistake", "different")


# As people write it


WAYS = """
def Linear_Forward(A, W, b):
    return np.dot(W, A) + b

def batch_norm(A, epsilon):
    return (A - A.mean(1, keepdims=True)) / np.sqrt(A.var(1, keepdims=True) + epsilon)

gamma, beta = 0.5, 0.1
def applyBatchnorm(A):
    A_norm = (A.T - A.mean(1)) / np.sqrt(A.var(1) + 0.01)
    return gamma * A_norm.T + beta, {"A": A}

def compute_cost(AL, labels):
    return -np.mean(np.log(AL[labels.astype(int), range(len(labels))] + 1e-9))

def compute_cost(AL, Y, L2=False, parameters=None):
    squares = sum((value**2).sum() for name, value in parameters.items() if "W" in name)
    return -(Y * np.log(np.clip(AL, 1e-12, 1))).sum() / Y.shape[1] + L2 * 0.03 / (2 * Y.shape[1]) * squares

LAMBDA = 0
def compute_cost(AL, Y, parameters):
    squares = sum((value**2).sum() for name, value in parameters.items() if "W" in name)
    return np.array([[-(Y * np.log(AL + 1e-9)).sum() / Y.shape[1] + LAMBDA / (2 * Y.shape[1]) * squares]])

def linear_backward(dZ, cache, W=None, lambd=0):
    A_prev, _, _ = cache
    m = A_prev.shape[1]
    return {"db": dZ.mean(1), "dW": dZ @ A_prev.T / m + lambd / m * W, "dA": W.T @ dZ}

def linear_backward(dZ, cache):
    A, W, b = cache["A"], cache["W"], cache["b"]
    return W.T @ dZ, dZ @ A.T / A.shape[1], dZ.mean(1, keepdims=True)

def relu_backward(dA, cache):
    return dA * (cache["Z"] > 0)

def softmax_backward(dA, cache):
    return dA

def softmax_backward(AL, cache):
    return AL - cache["Y"]

import torch
def relu(Z):
    return torch.relu(Z)

def relu(Z, seed, verbose, *more, **others):
    return Z * (Z > 0)

def relu_forward(Z, dropout=0.5):
    return Z * (Z > 0) * (np.random.rand(*Z.shape) >= dropout)

def linear_forward(A, W, b):
    return {"Z": W @ A + b, "mine": {"a": A, "w": W}}
def linear_backward(dZ, cache):
    return cache["w"].T @ dZ, dZ @ cache["a"].T / dZ.shape[1], dZ.mean(1)

def initialize_parameters(layer_dims):
    sizes = list(zip(layer_dims, layer_dims[1:]))
    values = {f"W{k}": np.random.randn(n, m) / 9 for k, (m, n) in enumerate(sizes)}
    return values | {f"b{k}": np.zeros((n, 1)) for k, (_, n) in enumerate(sizes)}, {"moving": np.zeros(3)}
def update_parameters(parameters, grads, learning_rate):
    return {name: value - learning_rate * grads["d" + name[0] + str(int(name[1:]) + 1)]
            for name, value in parameters.items()}

def l_model_forward(X, parameters):
    for k in range(1, len(parameters) // 2 + 1):
        Z = parameters[f"W{k}"] @ X + parameters[f"b{k}"]
        X = np.maximum(Z, 0)
    return np.exp(Z - Z.max(0)) / np.exp(Z - Z.max(0)).sum(0), []
def predict(X, params):
    return l_model_forward(X, params)[0].argmax(0)
"""


@pytest.mark.parametrize("source", WAYS.strip().split("\n\n"))
def test_what_people_call_things(source):
    functions = {"np": np}
    exec(source, functions)
    report = check(functions)
    assert report, str(report)
    assert not any(one.mistakes for one in report.verdicts)


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("def relu(Z):\n    return None", "nothing"),
        ("def relu(Z):\n    return Z.sum()", r"\(1, 3\)"),
        ("def relu(Z, foo):\n    return Z", "foo"),
        ("def relu():\n    return 0", ""),
        ("def relu(Z):\n    exit()", "SystemExit"),
        ("def relu(Z):\n    import numpy\n    return numpy.array(['relu'])", ""),
        ("class relu:\n    pass", None),
        ("from torch import relu", None),
        ("relu = 3", None),
    ],
)
def test_what_cannot_be_judged(source, note):
    functions = {}
    exec(source, functions)
    (verdict,) = judged(functions, "relu")
    assert verdict.status == ("missing" if note is None else "not judged")
    assert re.search(note or "", verdict.note)


@pytest.mark.parametrize("start", ["pass", "def __init__(self, sizes):\n        self.sizes = sizes"])
def test_methods_of_a_class(start):
    methods = ["def linear_forward(self, A, W, b):\n        return W @ A + b, (A, W, b)"]
    methods += ["@staticmethod\n    def relu(Z):\n        return Z, Z", "def softmax(self):\n        return self.Z"]
    functions = {}
    exec("class Network:\n    " + "\n\n    ".join([start, *methods]), functions)
    found = [one.status for one in judged(functions, "linear_forward", "relu", "softmax")]
    assert found == ["right", "different", "not judged"]


def test_a_derivative_that_is_multiplied_elsewhere():
    (verdict,) = judged({"relu_backward": lambda Z: Z > 0}, "relu_backward")
    assert (verdict.status, verdict.mistakes) == ("not judged", [])
    assert "activation_cache" in verdict.note


@pytest.mark.parametrize(("switch", "status"), [("False", "right"), ("True", "known mistake")])
def test_without_batch_norm_as_it_was_trained(switch, status):
    source = (SOLUTIONS / "columns.py").read_text(encoding="utf-8")
    before, predict, after = source.partition("def predict(")
    for old, new in {
        "X, Y, parameters, use_batchnorm=False)": "X, Y, parameters)",
        "AL, _ = l_model_forward(X, parameters, use_batchnorm)": "AL, _ = l_model_forward(X, parameters, False)",
        "batch_size, use_batchnorm=False, ": "batch_size, ",
        "X_batch, parameters, use_batchnorm)": f"X_batch, parameters, {switch})",
    }.items():
        assert old in after
        after = after.replace(old, new)
    functions = {}
    exec(before + predict + after, functions)
    assert [one.status for one in judged(functions, "predict", "l_layer_model")] == [status, "right"]


def test_a_set_for_validation_is_given_where_training_needs_one():
    source = (SOLUTIONS / "columns.py").read_text(encoding="utf-8")
    old = "costs.append(compute_cost(AL, Y_batch, parameters, lambd))"
    assert old in source
    check_it = old + "\n            predict(X_VAL, validation_Y.T, parameters)"
    source = source.replace(old, check_it).replace("batch_size, use", "batch_size, validation_Y=None, use")
    functions = {"X_VAL": None}
    exec(source, functions)
    (verdict,) = judged(functions, "l_layer_model")
    assert verdict.status == "right"
    assert functions["X_VAL"] is None


def test_a_network_that_cannot_be_evaluated():
    functions = check_file_with("columns", "parameters = update", "update")
    del functions["l_model_forward"]
    (verdict,) = judged(functions | {"l_model_forward": None}, "l_layer_model")
    assert verdict.status == "not judged"


def test_what_is_no_solution():
    with pytest.raises(InputError, match="solution: expected a module"):
        check(3)


def test_a_report_reads_the_same_for_a_program():
    report = check(check_file_with("columns", "Z.max(axis=0, keepdims=True)", "0"))
    data = json.loads(json.dumps(report.data(), allow_nan=False))
    (softmax,) = (one for one in data["functions"] if one["function"] == "softmax")
    assert not data["right"]
    assert [one["name"] for one in softmax["mistakes"]] == ["overflows"]
    assert softmax["got"]["A"][0][0] == "nan"
    assert "exp(Z) is infinite" in str(report)


# Files, each in a process of its own


def command(*arguments):
    program = ["python", "-m", "nnlib.check", *map(str, arguments)]
    environment = os.environ | ENVIRONMENT
    return subprocess.run(program, cwd=HERE.parent, env=environment, capture_output=True, text=True)


@pytest.fixture
def quick_check(quick_python, monkeypatch):
    """The process of `check_files` starts at once."""
    monkeypatch.setattr(sys, "executable", shutil.which("python", path=ENVIRONMENT["PATH"]))


def test_what_disturbs_is_left_out_and_what_hangs_is_cut_off(quick_check):
    report = check_files([SOLUTIONS / "loud.py"], seconds=3)
    found = {one.function: (one.status, one.note) for one in report.verdicts if one.status != "missing"}
    assert found.pop("relu") == ("not judged", "SystemExit: I have had enough")
    assert found.pop("apply_batchnorm") == ("not judged", "it had not ended after 3 seconds")
    assert found.pop("linear_activation_forward") == ("not judged", "it ended the process")
    assert found == dict.fromkeys(
        ("initialize_parameters", "linear_forward", "softmax", "l_model_forward", "compute_cost"), ("right", "")
    )


def test_a_notebook(tmp_path, quick_check):
    code = "%matplotlib inline\n!pip install something\n" + (SOLUTIONS / "columns.py").read_text(encoding="utf-8")
    cells = [
        ("markdown", "# Mine"),
        ("code", code),
        ("code", "this is no Python"),
        ("code", "remainder = (7\n% 4)\nsigmoid = lambda Z: (1 / (1 + np.exp(-Z)), Z)"),
        ("code", "np.maximum?\nfiles = !ls\ndef compute_cost(AL, Y):\n    return 7"),
        ("code", "def relu(Z):\n    return abs(Z), Z"),
    ]
    notebook = {"cells": [{"cell_type": kind, "source": text.splitlines(keepends=True)} for kind, text in cells]}
    (tmp_path / "my notebook.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    report = check_files([tmp_path])
    status = {one.function: one.status for one in report.verdicts}
    assert (status["relu"], status["softmax"], status["linear_activation_forward"]) == ("different", "right", "right")
    assert (status["sigmoid"], status["compute_cost"]) == ("right", "different")
    assert report.unread == ["my notebook.ipynb, code cell 2, which begins with 'this is no Python'"]
    assert report.data()["unread"] == report.unread
    assert str(report).endswith(report.unread[0])


def test_a_function_may_be_a_partial_one():
    def leaky(Z, slope):
        return np.maximum(Z, slope * Z)

    assert [one.status for one in check({"relu": partial(leaky, slope=0)}).verdicts if one.called] == ["right"]


def test_what_cannot_be_imported_is_named_where_it_is_used(tmp_path, quick_check):
    (tmp_path / "a.py").write_text("def softmax(Z):\n    return Z")
    (tmp_path / "b.py").write_text(
        "import absent.things as of\nfrom absent import softmax, rectified\nimport numpy as np\n"
        "def relu(Z):\n    return rectified(Z)\ndef sigmoid(Z):\n    return of.sigmoid(Z)\n"
        "def linear_forward(A, W, b, far=np.Inf):\n    return W @ A + b\n"
    )
    found = {one.function: (one.status, one.note) for one in check_files([tmp_path]).verdicts}
    assert found["relu"] == found["sigmoid"] == ("not judged", "ImportError: No module named 'absent'")
    assert found["linear_forward"] == ("right", "")
    assert found["softmax"][0] == "different"


def test_exit_status(tmp_path, quick_check, monkeypatch, capsys):
    (tmp_path / "empty.py").write_text("")
    for arguments, expected in (
        ([SOLUTIONS / "rows.py", "--json"], 0),
        ([SOLUTIONS / "rows.py", "--complete"], 1),
        ([tmp_path / "empty.py"], 1),
    ):
        monkeypatch.setattr(sys, "argv", ["nnlib.check", *map(str, arguments)])
        assert main() == expected
        printed = capsys.readouterr().out
        assert "--json" not in arguments or json.loads(printed)["missing"] == ["l_layer_model"]


@pytest.mark.parametrize(("name", "text"), [("none.py", None), ("bad.py", "def f(:"), ("bad.ipynb", "{}")])
def test_files_that_cannot_be_read(tmp_path, quick_python, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    for files in ([tmp_path / name], tmp_path / name, [SOLUTIONS / "rows.py", str(tmp_path / name)]):
        with pytest.raises(InputError, match=name):
            check_files(files)
    assert command(tmp_path / name).returncode == 2


def test_a_function_that_is_not_written_yet_spoils_no_other():
    functions = {"initialize_parameters": lambda layers_dims: None, "relu": lambda Z: np.maximum(Z, 0)}
    status = {one.function: one.status for one in check(functions).verdicts}
    assert (status["initialize_parameters"], status["relu"]) == ("not judged", "right")


def test_the_table_leads_to_the_formulas():
    headings = re.findall(
        r"^##+ (.*)$", (HERE.parent / "docs" / "backprop.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    for name, entry in TABLE.items():
        assert "optional" in entry or entry["section"] in headings, name
        assert all(one["says"].endswith(".") for one in known(name).values())


def test_the_page_for_teachers(tmp_path, quick_check):
    page = HERE.parent / "docs" / "check.md"
    text = page.read_text(encoding="utf-8")
    program, output = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL).groups()
    (tmp_path / "mine.py").write_text(program, encoding="utf-8")
    assert str(check_files([tmp_path / "mine.py"])) == output.rstrip("\n")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_what_was_measured_is_said_with_the_mistake(tmp_path, monkeypatch):
    """The file is made from the study's results, and may be absent."""
    functions = with_mistake("apply_batchnorm", axis=0)
    assert "measured: " not in str(judged(functions, "apply_batchnorm")[0])
    (tmp_path / "measured.json").write_text('{"normalized over the wrong axis": "2 points lost."}', encoding="utf-8")
    monkeypatch.setattr("nnlib.check.report.MEASURED", tmp_path / "measured.json")
    assert "    measured: 2 points lost.\n" in str(judged(functions, "apply_batchnorm")[0])


def test_what_the_reports_do_wrong_has_the_same_name_here():
    names = {mistake for name in TABLE for mistake in known(name)}
    in_code = {name for name, mistake in MISTAKES.items() if mistake.section} | {"large initial weights"}
    assert in_code - {TOO_SMALL} <= names


@pytest.mark.parametrize(
    ("got", "expected", "far"),
    [([1.0, 4.5], [1.0, 5.0], 0.1), ([0.5], [0.0], 0.5), ([np.nan], [np.nan], 0.0), ([np.nan], [1.0], np.inf)],
)
def test_a_distance_is_a_share_of_the_largest_entry_unless_all_are_0(got, expected, far):
    assert distance(np.array(got), np.array(expected)) == pytest.approx(far)
