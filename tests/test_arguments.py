"""What the functions that nnlib exports take, and what they refuse by name."""

import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from problems import normal, problem
from torch.testing import assert_close

import nnlib
from nnlib import arguments, shapes
from nnlib.data import dataset

DIMS = [6, 5, 4, 3]
X, Y = problem(8)
PARAMETERS = nnlib.initialize_parameters(DIMS, dtype=torch.float64)
AL, CACHES = nnlib.l_model_forward(X, PARAMETERS, use_batchnorm=True)
GRADS = nnlib.l_model_backward(AL, Y, CACHES)
A, W, b = normal(4, 8), normal(3, 4), normal(3, 1)
Z, LINEAR = nnlib.linear_forward(A, W, b)
SETTINGS = nnlib.Settings(DIMS, epochs=2, batch_size=4, look_every=1)
RUN = nnlib.train_replicas((X, Y), (X, Y), SETTINGS, [0, 1])

# A right call of every function that takes arrays: its arguments by name.
CALLS = {
    nnlib.linear_forward: {"A": A, "W": W, "b": b},
    nnlib.linear_backward: {"dZ": Z, "cache": LINEAR, "L2": 0.5},
    nnlib.relu: {"Z": Z},
    nnlib.relu_backward: {"dA": Z, "activation_cache": Z},
    nnlib.softmax: {"Z": Z},
    nnlib.softmax_backward: {"dA": Z, "activation_cache": Z},
    nnlib.apply_batchnorm: {"A": A},
    nnlib.straight_through_batchnorm_backward: {"dA_norm": A, "A": A},
    nnlib.exact_batchnorm_backward: {"dA_norm": A, "A": A},
    nnlib.linear_activation_forward: {"A_prev": A, "W": W, "B": b, "activation": "relu"},
    nnlib.linear_activation_backward: {"dA": Z, "cache": (LINEAR, Z), "activation": "relu", "L2": 0.5},
    nnlib.l_model_forward: {"X": X, "parameters": PARAMETERS, "use_batchnorm": True},
    nnlib.l_model_backward: {"AL": AL, "Y": Y, "caches": CACHES, "L2": 0.5, "batchnorm_rule": "exact"},
    nnlib.compute_cost: {"AL": AL, "Y": Y, "parameters": PARAMETERS, "L2": 0.5},
    nnlib.compute_cost_from_logits: {"ZL": AL, "Y": Y, "parameters": PARAMETERS, "L2": 0.5},
    nnlib.sum_squared_weights: {"parameters": PARAMETERS},
    nnlib.update_parameters: {"parameters": PARAMETERS, "grads": GRADS, "learning_rate": 0.1},
    nnlib.predict: {"X": X, "Y": Y, "parameters": PARAMETERS, "use_batchnorm": True},
    nnlib.accuracy: {"X": X, "Y": Y, "parameters": RUN.parameters, "use_batchnorm": True},
    nnlib.l_layer_model: {
        "X": X,
        "Y": Y,
        "layers_dims": DIMS,
        "learning_rate": 0.1,
        "num_iterations": 2,
        "batch_size": 3,
        "validation": (X, Y),
        "look_every": 1,
    },
    nnlib.train_replicas: {"train": (X, Y), "validation": (X, Y), "settings": SETTINGS, "seeds": [0, 1]},
}
EVERY_CALL = pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)


def mapped(value, change):
    """The value with every tensor in it changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: mapped(one, change) for name, one in value.items()}
    return type(value)(mapped(one, change) for one in value) if isinstance(value, tuple | list) else value


def tensors(value):
    """Every tensor in a result."""
    if isinstance(value, nnlib.Run):
        value = value.tensors()
    if isinstance(value, dict | tuple | list):
        return [one for part in (value.values() if isinstance(value, dict) else value) for one in tensors(part)]
    return [torch.as_tensor(value)] if isinstance(value, torch.Tensor | float | int) else []


def assert_as_with_tensors(function, arguments, tolerance=0.0):
    got, expected = tensors(function(**arguments)), tensors(function(**CALLS[function]))
    assert [one.shape for one in got] == [one.shape for one in expected]
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True, check_dtype=not tolerance)


def test_every_function_that_takes_arrays_is_tried():
    public = {one for name in nnlib.__all__ if inspect.isfunction(one := getattr(nnlib, name))}
    others = {nnlib.check_gradients, nnlib.initialize_parameters, nnlib.load_mnist}  # see their own tests
    assert public - others == set(CALLS)
    # The check before a function hides neither its name nor what it says of itself.
    assert all(getattr(nnlib, one.__name__) is one and one.__doc__ for one in public)


@EVERY_CALL
def test_numpy_arrays_are_taken_as_tensors_are(function):
    assert_as_with_tensors(function, mapped(CALLS[function], lambda tensor: tensor.numpy()))


@EVERY_CALL
def test_the_order_of_an_arrays_bytes_plays_no_part(function):
    odd = mapped(CALLS[function], lambda tensor: np.flip(np.flip(tensor.numpy()).copy()).astype(">f8"))
    assert_as_with_tensors(function, odd)


@EVERY_CALL
def test_read_only_arrays_are_taken_without_a_word(function):
    def frozen(tensor):
        array = tensor.numpy().copy()
        array.flags.writeable = False
        return array

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_as_with_tensors(function, mapped(CALLS[function], frozen))


@EVERY_CALL
def test_lists_are_taken_as_float32(function):
    assert_as_with_tensors(function, mapped(CALLS[function], lambda tensor: tensor.tolist()), tolerance=2e-3)


def test_a_step_over_tensors_converts_nothing_and_checks_each_call_once(monkeypatch):
    """Checks cost as much as a layer, and a loop makes the same calls again and again."""
    fit, checked = shapes.Shapes.__call__, []
    monkeypatch.setattr(shapes, "floats", lambda arrays: pytest.fail(f"converts {dict(arrays)}"))
    monkeypatch.setattr(shapes.Shapes, "__call__", lambda self, *values: checked.append(self) or fit(self, *values))
    for _ in range(2):
        AL, caches = nnlib.l_model_forward(X, PARAMETERS, use_batchnorm=True)
        nnlib.update_parameters(PARAMETERS, nnlib.l_model_backward(AL, Y, caches), learning_rate=0.1)
    assert len(checked) == 4
    assert checked[:2] == checked[2:]


@EVERY_CALL
def test_arguments_are_left_as_they_were(function):
    before = mapped(CALLS[function], torch.clone)
    function(**CALLS[function])
    for one, other in zip(tensors(CALLS[function]), tensors(before), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.bool, torch.float32])
@pytest.mark.parametrize(
    "function",
    [function for function in CALLS if {"Y", "train"} & CALLS[function].keys()],
    ids=lambda function: function.__name__,
)
def test_labels_may_be_of_any_kind_of_number(function, kind):
    def other(name, value):
        if name in ("train", "validation"):
            return value[0], value[1].to(kind)
        return value.to(kind) if name == "Y" else value

    assert_as_with_tensors(function, {name: other(name, value) for name, value in CALLS[function].items()})


@pytest.mark.parametrize("function", [nnlib.l_layer_model, nnlib.train_replicas], ids=lambda f: f.__name__)
def test_training_keeps_no_graph(function):
    arguments = mapped(CALLS[function], lambda tensor: tensor.clone().requires_grad_())
    assert not any(tensor.requires_grad for tensor in tensors(function(**arguments)))


WRONG_ARRAYS = {
    "empty": lambda array: array[..., :0],
    "whole numbers": lambda array: (array * 9).to(torch.int64),
    "half": lambda array: array.half(),
    "complex": lambda array: array.to(torch.complex64),
    "words": lambda array: np.full(array.shape, "a"),
    "ragged": lambda array: [[1.0, 2.0], [3.0]],
    "nothing": lambda array: None,
    "other axes": lambda array: array[..., :-1, :],
}
# ReLU takes any shape; the numbers of a batch norm's activations stand for themselves; labels are any real numbers.
ANY_SHAPE = {(nnlib.relu, "Z"), (nnlib.softmax, "Z"), (nnlib.apply_batchnorm, "A"), (nnlib.linear_forward, "b")}


@pytest.mark.parametrize("wrong", WRONG_ARRAYS)
@pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function, given in CALLS.items() for name in given if isinstance(given[name], torch.Tensor)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_array_that_is_none_is_refused_by_name(function, name, wrong):
    if wrong == "other axes" and (function, name) in ANY_SHAPE:
        pytest.skip("fits: nothing else has these axes")
    if name == "Y" and wrong in ("whole numbers", "half"):
        pytest.skip("labels may be of any kind of number")
    arguments = CALLS[function] | {name: WRONG_ARRAYS[wrong](CALLS[function][name])}
    others = "|".join(CALLS[function])
    with pytest.raises(
        nnlib.InputError, match=rf"^({name if wrong != 'other axes' else others}): ?.*expected .*, got "
    ):
        function(**arguments)


def parameters_without(name):
    return {other: value for other, value in PARAMETERS.items() if other != name}


MISTAKES = [
    (nnlib.l_model_forward, {"parameters": parameters_without("b2")}, "parameters"),
    (nnlib.l_model_forward, {"parameters": PARAMETERS | {"W2": W}}, "parameters: W2"),
    (nnlib.l_model_forward, {"parameters": [W, b]}, "parameters"),
    (nnlib.l_model_forward, {"use_batchnorm": "yes"}, "use_batchnorm"),
    (nnlib.l_model_backward, {"caches": []}, "caches"),
    (nnlib.l_model_backward, {"caches": CACHES[:-1]}, "caches"),
    (nnlib.l_model_backward, {"AL": AL[:2], "Y": Y[:2]}, "caches: layer 3: linear_cache: W"),
    (nnlib.l_model_backward, {"caches": None}, "caches"),
    (nnlib.l_model_backward, {"caches": [1, 2]}, "caches"),
    (nnlib.linear_forward, {"W": W[0]}, "W"),
    (nnlib.softmax, {"Z": Z[0]}, "Z"),
    (nnlib.l_model_backward, {"batchnorm_rule": None}, "batchnorm_rule"),
    (nnlib.l_model_backward, {"L2": "much"}, "L2"),
    (nnlib.linear_backward, {"cache": (A, W)}, "cache"),
    (nnlib.linear_backward, {"L2": torch.tensor([0.1, -0.1])}, "L2"),
    (nnlib.linear_backward, {"L2": torch.inf}, "L2"),
    *[(nnlib.linear_backward, {"L2": kind}, "L2") for kind in (True, np.bool_(True), torch.tensor(True), [True])],
    (nnlib.linear_activation_forward, {"activation": ["relu"]}, "activation"),
    (nnlib.apply_batchnorm, {"epsilon": 0.0}, "epsilon"),
    (nnlib.update_parameters, {"learning_rate": torch.nan}, "learning_rate"),
    (nnlib.update_parameters, {"grads": {}}, "grads"),
    (nnlib.update_parameters, {"grads": GRADS | {"dW1": W}}, "grads"),
    (nnlib.update_parameters, {"grads": [W]}, "grads"),
    (nnlib.update_parameters, {"parameters": 3}, "parameters"),
    (nnlib.update_parameters, {"parameters": {}}, "parameters"),
    (nnlib.update_parameters, {"parameters": PARAMETERS | {"W1": PARAMETERS["W1"].half()}}, "parameters: W1"),
    (nnlib.update_parameters, {"grads": GRADS | {"dW1": GRADS["dW1"].to_sparse()}}, "grads: dW1"),
    (nnlib.relu, {"Z": A.to_sparse()}, "Z"),
    (nnlib.sum_squared_weights, {"parameters": {}}, "parameters"),
    (nnlib.accuracy, {"parameters": PARAMETERS}, "parameters"),
    *[
        (nnlib.l_layer_model, {name: value}, name)
        for name, values in {
            "X": [X[:5], X.masked_fill(X > 1, torch.nan), X[:, :0]],
            "Y": [Y[:, 1:], 2 * Y, torch.zeros_like(Y), torch.ones_like(Y), torch.full_like(Y, 1 / 3)],
            "layers_dims": [[6], [6, 5.5, 3], [6, 0, 3], 6, "6453", None],
            "learning_rate": [torch.nan, torch.inf, 0.0, -1.0, "fast", None],
            "num_iterations": [1.5, -1, True, "3"],
            "batch_size": [0, 9, 2.5],
            "use_batchnorm": [1, None],
            "L2": [-0.1, torch.nan, None],
            "validation": [(X[:5], Y), (X, Y[:2]), X, (X, Y, X), 3],
            "batchnorm_rule": ["none", None],
            "rule": ["zeros", 3],
            "seed": [-1, 0.5, None, "a"],
            "patience": [0, -1, 2.5],
            "threshold": [-1e-5, torch.nan],
            "stopping_rule": ["flat", None],
            "look_every": [0, -1, 1.5],
            "reshuffle": [1, None],
            "record": [3, "print"],
        }.items()
        for value in values
    ],
    *[
        (nnlib.train_replicas, {name: value}, name)
        for name, values in {
            "train": [X, (X,), None],
            "validation": [(X[:5], Y), X, None, (X, Y[:, 1:])],
            "settings": [None, {"epochs": 1}],
            "seeds": [[], 3, [-1], [0.5], "ab", None],
            "start": [RUN.parameters, 3],
            "device": ["gpu", 3, "meta"],
            "threads": [0, -1, 1.5, "auto"],
            "cluster": [3],
            "store": ["folder"],
            "progress": [3],
        }.items()
        for value in values
    ],
]


@pytest.mark.parametrize(
    ("function", "given", "name"),
    MISTAKES,
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_a_mistake_is_named(function, given, name):
    with pytest.raises(nnlib.InputError, match=rf"^{name}: ?.*expected .*, got "):
        function(**CALLS[function] | given)


@pytest.mark.parametrize(
    ("function", "given", "came"),
    [
        (nnlib.l_model_forward, {"parameters": {}}, "none"),
        (nnlib.l_model_forward, {"parameters": {"W1": W, "W2": W}}, "W1, W2"),
        (nnlib.l_model_backward, {"caches": []}, "none"),
        (nnlib.l_model_backward, {"caches": CACHES[:-1]}, r"\(3, 3\)"),
        (nnlib.update_parameters, {"grads": {}}, "none"),
        (nnlib.update_parameters, {"grads": {"dW2": W, "dW3": W}}, "dW2, dW3"),
    ],
)
def test_what_came_is_listed_or_none(function, given, came):
    with pytest.raises(nnlib.InputError, match=f", got {came}$"):
        function(**CALLS[function] | given)


def test_an_empty_array_is_told_from_one_of_another_shape():
    with pytest.raises(nnlib.InputError, match=r"^W: expected \(\.\.\., out, 4\), none of them 0, got \(0, 4\)$"):
        nnlib.linear_forward(A, W[:0], b)
    with pytest.raises(nnlib.InputError, match=r"^b: expected \(\.\.\., 3, 1\), got \(2, 1\)$"):
        nnlib.linear_forward(A, W, b[:2])
    with pytest.raises(nnlib.InputError, match=r"^parameters: W2: expected \(\.\.\., out2, in2\), got \(1,\)$"):
        nnlib.sum_squared_weights({"W1": W, "W2": [1.0]})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nnlib.initialize_parameters([4]), "layer_dims"),
        (lambda: nnlib.initialize_parameters([4, 3], rule="zeros"), "rule"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=-1), "seed"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=[]), "seed"),
        (lambda: nnlib.initialize_parameters([4, 3], dtype=torch.int64), "dtype"),
        (lambda: nnlib.StoppingRule(patience=0), "patience"),
        (lambda: nnlib.StoppingRule(threshold=torch.nan), "threshold"),
        (lambda: nnlib.StoppingRule(rule="flat"), "rule"),
        (lambda: nnlib.Settings([6]), "layers_dims"),
        (lambda: nnlib.Settings(DIMS, epochs=-1), "epochs"),
        (lambda: nnlib.Settings(DIMS, batch_size=0), "batch_size"),
        (lambda: nnlib.Settings(DIMS, patience=0), "patience"),
        (lambda: nnlib.Settings(DIMS, L2=torch.tensor([0.1, -0.1])), "L2"),
        (lambda: nnlib.Settings(DIMS, look_every=0), "look_every"),
        (lambda: dataset.normalize([[300]]), "images"),
        (lambda: dataset.normalize([]), "images"),
        (lambda: dataset.flatten(np.zeros((3, 4))), "images"),
        (lambda: dataset.flatten(np.zeros((0, 4, 4))), "images"),
        (lambda: dataset.one_hot([0.5]), "labels"),
        (lambda: dataset.one_hot([3, 10]), "labels"),
        (lambda: dataset.split(10, 1.5, 0.2, 0), "test"),
        (lambda: dataset.split(10, 0.2, 0.2, -1), "seed"),
    ],
)
def test_a_mistake_is_named_without_arrays_too(call, name):
    with pytest.raises(nnlib.InputError, match=rf"^{name}: ?.*expected .*, got "):
        call()


def test_images_and_labels_may_be_numpy_arrays_and_lists():
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    expected = torch.arange(18).reshape(2, 9).T / 255
    assert torch.equal(dataset.flatten(dataset.normalize(images)), expected)
    assert torch.equal(dataset.flatten(dataset.normalize(images.tolist())), expected)
    assert dataset.one_hot([1, 0], 2).tolist() == dataset.one_hot(np.array([1, 0]), 2).tolist() == [[0, 1], [1, 0]]


def test_numpys_numbers_are_numbers():
    parameters, _ = nnlib.l_layer_model(
        X, Y, np.array(DIMS), np.float32(0.5), np.int64(1), np.int32(4), np.bool_(True), seed=torch.tensor(3)
    )
    expected, _ = nnlib.l_layer_model(X, Y, DIMS, 0.5, 1, 4, True, seed=3)
    assert all(torch.equal(parameters[name], expected[name]) for name in expected)


LARGEST = arguments.LARGEST


@pytest.mark.parametrize(
    ("check", "taken", "refused", "expected"),
    [
        (
            arguments.whole(1),
            [1, 2**63 - 1],
            [0, 2**63, 1.0, True, np.float64(2.5)],
            r"a whole number from 1, below 2\*\*63",
        ),
        (arguments.whole(1, 3), [1, 3], [0, 4], "a whole number from 1 to 3"),
        (arguments.not_negative, [0, LARGEST], [-1e-9, math.inf, math.nan], "a finite number that is not negative"),
        (arguments.positive, [1e-9, LARGEST], [0, math.inf, math.nan], "a finite number above 0"),
        (arguments.fraction, [1e-9, 0.999], [0, 1, -0.5], "a fraction between 0 and 1"),
        (arguments.units, [[1, 1]], [[1], [1, 0]], "two or more layers of one or more units"),
        (arguments.seeds, [range(1), range(2, -1, -1), [0]], [range(0)], "one seed or more"),
        (arguments.seeds, [], [range(-1, 3), range(3, -2, -1), range(-1, 0), [-1]], "a whole number from 0"),
        (arguments.seed_or_seeds, [3, 10**30, [3, 4]], [-1, [-1]], "a whole number from 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_check_takes_its_whole_range_and_says_which_it_is(check, taken, refused, expected):
    for value in taken:
        assert check("name", value) == value
    for value in refused:
        with pytest.raises(nnlib.InputError, match=rf"^name: expected {expected}, got [^(]*\(?[^,]"):
            check("name", value)


def test_one_seed_or_many_may_be_arrays():
    for one in (np.array(3), torch.tensor(3), np.int32(3)):
        assert arguments.seed_or_seeds("seed", one) == 3
    for many in (np.array([3, 4]), torch.tensor([3, 4]), (3, 4)):
        assert arguments.seed_or_seeds("seed", many) == [3, 4]


def test_of_an_array_type_and_shape_are_said_of_a_number_its_value():
    assert arguments.what(torch.zeros(2, 3)) == "float32 (2, 3)"
    assert arguments.what(np.float64(2.5)) == repr(np.float64(2.5))
