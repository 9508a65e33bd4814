"""What the functions that nnlib exports take, and what they refuse by name."""

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from problems import normal, problem
from torch.testing import assert_close

import nnlib
from nnlib.arrays import tensor
from nnlib.data import dataset
from nnlib.records import what
from nnlib.validation import fit, remedy

DIMS = [6, 5, 4, 3]
X, Y = problem(8)
PARAMETERS = nnlib.initialize_parameters(DIMS, dtype=torch.float64)
AL, CACHES = nnlib.l_model_forward(X, PARAMETERS, "exact")
GRADS = nnlib.l_model_backward(AL, Y, CACHES)
A, W, b = normal(4, 8), normal(3, 4), normal(3, 1)
Z, LINEAR = nnlib.linear_forward(A, W, b)
REPLICAS = nnlib.initialize_parameters(DIMS, seed=[0, 1], dtype=torch.float64)
SETTINGS = nnlib.Settings(layers_dims=DIMS, epochs=2, batch_size=4, stopping={"eval_every": 1})

# A right call of every function that takes arrays: its arguments by name.
CALLS = {
    nnlib.linear_forward: {"A": A, "W": W, "b": b},
    nnlib.linear_backward: {"dZ": Z, "cache": LINEAR, "L2": 0.5},
    nnlib.relu: {"Z": Z},
    nnlib.sigmoid: {"Z": Z},
    nnlib.sigmoid_backward: {"dA": Z, "activation_cache": Z},
    nnlib.relu_backward: {"dA": Z, "activation_cache": Z},
    nnlib.softmax: {"Z": Z},
    nnlib.softmax_backward: {"dA": Z, "activation_cache": Z},
    nnlib.apply_batchnorm: {"A": A},
    nnlib.straight_through_batchnorm_backward: {"dA_norm": A, "A": A},
    nnlib.exact_batchnorm_backward: {"dA_norm": A, "A": A},
    nnlib.linear_activation_forward: {"A_prev": A, "W": W, "B": b, "activation": "relu"},
    nnlib.linear_activation_backward: {"dA": Z, "cache": (LINEAR, Z), "activation": "relu", "L2": 0.5},
    nnlib.l_model_forward: {"X": X, "parameters": PARAMETERS, "batchnorm": "exact"},
    nnlib.l_model_backward: {"AL": AL, "Y": Y, "caches": CACHES, "L2": 0.5, "batchnorm": "exact"},
    nnlib.compute_cost: {"AL": AL, "Y": Y, "parameters": PARAMETERS, "L2": 0.5},
    nnlib.compute_cost_from_logits: {"ZL": AL, "Y": Y, "parameters": PARAMETERS, "L2": 0.5},
    nnlib.sum_squared_weights: {"parameters": PARAMETERS},
    nnlib.update_parameters: {"parameters": PARAMETERS, "grads": GRADS, "learning_rate": 0.1},
    nnlib.predict: {"X": X, "Y": Y, "parameters": PARAMETERS, "batchnorm": "exact"},
    nnlib.accuracy: {"X": X, "Y": Y, "parameters": REPLICAS, "batchnorm": "exact"},
    nnlib.gradient_step: {"X": X, "Y": Y, "parameters": PARAMETERS, "settings": SETTINGS},
    nnlib.evaluate_cost: {"X": X, "Y": Y, "parameters": PARAMETERS, "settings": SETTINGS},
    nnlib.l_layer_model: {
        "X": X,
        "Y": Y,
        "layers_dims": DIMS,
        "learning_rate": 0.1,
        "num_iterations": 2,
        "batch_size": 3,
        "validation": (X, Y),
        "stopping": {"eval_every": 1},
    },
    nnlib.train_replicas: {"train": (X, Y), "validation": (X, Y), "settings": SETTINGS, "seeds": [0, 1]},
}
EVERY_CALL = pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)


def mapped(value, change):
    """The value with every tensor in it changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: mapped(part, change) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [mapped(part, change) for part in value]
        return type(value)._make(parts) if hasattr(value, "_make") else type(value)(parts)
    return value


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
    # See their own tests.
    others = {nnlib.check_gradients, nnlib.initialize_parameters, nnlib.mini_batches, nnlib.train_configurations}
    others |= {nnlib.load_mnist, nnlib.normalize, nnlib.flatten, nnlib.one_hot}
    assert public - others == set(CALLS)
    assert all(function.__doc__ for function in public)


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
    "NumPy's whole numbers": lambda array: (array * 9).to(torch.int64).numpy(),
    "whole numbers in lists": lambda array: (array * 9).to(torch.int64).tolist(),
    "half": lambda array: array.half(),
    "complex": lambda array: array.to(torch.complex64),
    "words": lambda array: np.full(array.shape, "a"),
    "ragged": lambda array: [[1.0, 2.0], [3.0]],
    "nothing": lambda array: None,
    "other axes": lambda array: array[..., :-1, :],
}
# ReLU and sigmoid take any shape; the numbers that batch norm takes stand for themselves; labels are any real numbers.
ANY_SHAPE = {
    (nnlib.relu, "Z"),
    (nnlib.sigmoid, "Z"),
    (nnlib.softmax, "Z"),
    (nnlib.apply_batchnorm, "A"),
    (nnlib.linear_forward, "b"),
}


# Labels may be of any kind of number.
TAKEN = {(function, name, "other axes") for function, name in ANY_SHAPE} | {
    (function, "Y", kind) for function in CALLS for kind in WRONG_ARRAYS if "whole" in kind or kind == "half"
}


@pytest.mark.parametrize(
    ("function", "name", "wrong"),
    [
        (function, name, wrong)
        for function, given in CALLS.items()
        for name in given
        for wrong in WRONG_ARRAYS
        if isinstance(given[name], torch.Tensor) and (function, name, wrong) not in TAKEN
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_array_that_is_none_is_refused_by_name(function, name, wrong):
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
    (nnlib.l_model_forward, {"batchnorm": "yes"}, "batchnorm"),
    (nnlib.l_model_forward, {"normalization": 3}, "normalization"),
    (nnlib.l_model_backward, {"caches": []}, "caches"),
    (nnlib.l_model_backward, {"caches": CACHES[:-1]}, "caches"),
    (nnlib.l_model_backward, {"AL": AL[:2], "Y": Y[:2]}, "caches: layer 3: cache: W"),
    (nnlib.l_model_backward, {"caches": None}, "caches"),
    (nnlib.l_model_backward, {"caches": [1, 2]}, "caches"),
    (nnlib.linear_forward, {"W": W[0]}, "W"),
    (nnlib.softmax, {"Z": Z[0]}, "Z"),
    (nnlib.l_model_backward, {"batchnorm": None}, "batchnorm"),
    (nnlib.l_model_backward, {"L2": "much"}, "L2"),
    (nnlib.linear_backward, {"cache": (A, W)}, "cache"),
    *[
        (nnlib.linear_backward, {"L2": value}, "L2")
        for value in (torch.tensor([0.1, 0.1]), torch.inf, True, np.bool_(True), torch.tensor(True), [True])
    ],
    (nnlib.linear_activation_forward, {"activation": ["relu"]}, "activation"),
    (nnlib.apply_batchnorm, {"epsilon": 0.0}, "epsilon"),
    (nnlib.update_parameters, {"learning_rate": torch.nan}, "learning_rate"),
    (nnlib.update_parameters, {"optimizer": "adam"}, "optimizer"),
    (nnlib.update_parameters, {"momentum": 1.0}, "momentum"),
    (nnlib.update_parameters, {"state": [W]}, "state"),
    (nnlib.update_parameters, {"state": {"W1": (W,)}}, "state"),
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
    (nnlib.gradient_step, {"settings": {"epochs": 1}}, "settings"),
    (nnlib.evaluate_cost, {"settings": None}, "settings"),
    *[
        (nnlib.l_layer_model, {name: value}, name)
        for name, values in {
            "X": [X[:5], X.masked_fill(X > 1, torch.nan), X[:, :0]],
            "Y": [Y[:, 1:], 2 * Y, torch.zeros_like(Y), torch.ones_like(Y), torch.full_like(Y, 1 / 3)],
            "batch_size": [9],
            "num_iterations": [1.5, -1, True, "3"],
            "validation": [(X[:5], Y), (X, Y[:2]), X, (X, Y, X), 3],
            "seed": [-1, 0.5, None, "a", nnlib.Seeds(3, -1)],
            "on_eval": [3, "print"],
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


# Of a settings' entry: values that it refuses, and how the message begins.
SETTINGS_MISTAKES = [
    ("layers_dims", [[6], 6, "6453", None], "layers_dims: expected"),
    ("layers_dims", [[6, 5.5, 3], [6, 0, 3]], "layers_dims.1: expected"),
    ("initialization", ["zeros", 3], "initialization: expected 'he_fan_in', .*, got"),
    ("learning_rate", [torch.nan, torch.inf, 0.0, -1.0, 1e-38, 1e39, "fast", None, True], "learning_rate: expected"),
    ("optimizer", ["sgd", None], "optimizer: expected 'gradient_descent' or 'momentum', got"),
    ("momentum", [1, -0.1, torch.nan, None], "momentum: expected"),
    ("epochs", [-1, 1.5, True, 2**63], "epochs: expected"),
    ("batch_size", [0, 2.5, None], "batch_size: expected"),
    ("batchnorm", ["Exact", True, None], "batchnorm: expected 'none', 'straight_through' or 'exact', got"),
    ("normalization", [{"over": "units"}], "normalization.over: expected 'examples' or 'matrix', got"),
    ("normalization", [{"epsilon": 0.0}, {"epsilon": 1e-40}], "normalization.epsilon: expected"),
    ("L2", [-0.1, 1e-38, torch.nan, None, torch.tensor([0.1, 0.1])], "L2: expected"),
    ("shuffle", ["often", True], "shuffle: expected"),
    ("stopping", [{"patience": 0}], "stopping.patience: expected a number of at least 1, got 0$"),
    ("stopping", [{"eval_evry": 3}], "stopping.eval_evry: no such entry; did you mean 'eval_every'\\?$"),
    ("stopping", [{"quantity": "cost"}], "stopping.quantity: expected"),
    ("stopping", [{"threshold": -1e-5}, {"threshold": torch.nan}], "stopping.threshold: expected"),
    ("stopping", [{"rule": "flat"}], "stopping.rule: expected"),
    ("stopping", [{"returns": "first"}], "stopping.returns: expected 'best' or 'last', got 'first'$"),
    ("stoping", [{}], "stoping: no such entry; did you mean 'stopping'\\?$"),
]


@pytest.mark.parametrize(
    ("name", "values", "says"), SETTINGS_MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_settings_refuse_what_they_cannot_train_with(name, values, says):
    for value in values:
        with pytest.raises(nnlib.InputError, match=rf"^{says}[^\n]*$"):
            nnlib.Settings(**{"layers_dims": DIMS, name: value})
        own = {"epochs": "num_iterations"}.get(name, name)
        with pytest.raises(nnlib.InputError, match=rf"^{says.replace(name, own)}[^\n]*$"):
            nnlib.l_layer_model(**{"X": X, "Y": Y, "layers_dims": DIMS, own: value})


@pytest.mark.parametrize(
    "form",
    [{"epsilon_added_to": "deviation"}, {"variance": "unbiased"}, {"over": "matrix"}],
    ids=lambda form: next(iter(form)),
)
def test_the_true_derivative_is_that_of_the_usual_normalization_alone(form):
    for batchnorm in ("none", "straight_through"):
        nnlib.Settings(layers_dims=DIMS, batchnorm=batchnorm, normalization=form)
    nnlib.Settings(layers_dims=DIMS, batchnorm="exact", normalization={"epsilon": 0.1})
    with pytest.raises(nnlib.InputError, match=r"^batchnorm: expected none or straight_through, .*, got exact"):
        nnlib.Settings(layers_dims=DIMS, batchnorm="exact", normalization=form)


@pytest.mark.parametrize(
    ("batch_size", "says"), [(9, "at most the 8 training"), (7, "no mini-batch of one"), (1, "no mini-batch of one")]
)
def test_a_mini_batch_fits_the_training_set(batch_size, says):
    settings = SETTINGS.replace(
        batch_size=batch_size, batchnorm="straight_through", normalization={"variance": "unbiased"}
    )
    options = dict(settings)
    epochs = {"num_iterations": options.pop("epochs")}
    for train in (
        lambda: nnlib.train_replicas((X, Y), (X, Y), settings, [0]),
        lambda: nnlib.l_layer_model(X, Y, **options, **epochs),
    ):
        with pytest.raises(nnlib.InputError, match=f"^batch_size: expected {says} .*, got {batch_size}$"):
            train()
    # The last mini-batch has three.
    nnlib.train_replicas((X, Y), (X, Y), settings.replace(batch_size=5), [0])


def test_tensors_of_one_precision_are_taken_as_they_are():
    assert all(one is other for one, other in zip(fit(A=(A, "in m"), W=(W, "out in")), (A, W), strict=True))


IMAGES = torch.randint(0, 256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0))
ROWS = IMAGES.flatten(1).double() / 255
LABELS = torch.arange(20) % 3
FLAT, ONE_HOT = ROWS.T.contiguous(), torch.eye(3)[:, LABELS]
NETWORK = nnlib.initialize_parameters([16, 3], dtype=torch.float64)


@pytest.mark.parametrize(
    ("X", "Y", "way"),
    [
        (ROWS, ONE_HOT, "X.T would fit"),
        (ROWS.numpy(), ONE_HOT, "X.T would fit"),
        (pd.DataFrame(ROWS.numpy()), ONE_HOT, "X.T would fit"),
        (ROWS.view(20, 1, 4, 4), ONE_HOT, "images go through nnlib.flatten(X)"),
        (ROWS.view(20, 4, 4), ONE_HOT, "images go through nnlib.flatten(X)"),
        (FLAT[:, 0], ONE_HOT, "one example is X[:, None]"),
        (scipy.sparse.csr_matrix(FLAT.numpy()), ONE_HOT, "use X.toarray()"),
        (FLAT.to_sparse(), ONE_HOT, "use X.to_dense()"),
        (FLAT.half(), ONE_HOT, "use X.float()"),
        (np.ma.masked_less(FLAT.numpy(), 0.5), ONE_HOT, "use X.filled(...)"),
        (FLAT.half().numpy(), ONE_HOT, "use X.astype('float32')"),
        (FLAT.numpy().astype(str), ONE_HOT, "use X.astype(float)"),
        (pd.DataFrame(FLAT.numpy()).astype("Float64").replace(0.0, pd.NA), ONE_HOT, "use X.fillna(...)"),
        (pd.DataFrame(FLAT.numpy()).astype(object), ONE_HOT, "use X.astype(float)"),
        *[
            (whole, ONE_HOT, f"grey levels from 0 to 255 as {array} / 255, other whole numbers as {array} * 1.0")
            for whole, array in [
                (nnlib.flatten(IMAGES), "X"),
                (nnlib.flatten(IMAGES).to(torch.uint8), "X"),
                (nnlib.flatten(IMAGES).numpy(), "X"),
                (pd.DataFrame(nnlib.flatten(IMAGES).numpy()), "X"),
                (nnlib.flatten(IMAGES).tolist(), "numpy.array(X)"),
            ]
        ],
        # The next message says how to divide whole numbers.
        (nnlib.flatten(IMAGES).numpy().astype(object), ONE_HOT, "use X.astype(int)"),
        (pd.DataFrame(nnlib.flatten(IMAGES).numpy()).astype("Int64"), ONE_HOT, "use X.astype(int)"),
        (FLAT, LABELS, "labels go through nnlib.one_hot(Y)"),
        (FLAT, LABELS[:, None], "labels go through nnlib.one_hot(numpy.ravel(Y))"),
        (FLAT, pd.Series(LABELS.numpy()), "labels go through nnlib.one_hot(Y)"),
        (FLAT, ONE_HOT.T, "Y.T would fit"),
        (FLAT, pd.Series(LABELS.numpy()).astype(str), "use Y.astype(int)"),
        (FLAT, pd.Series(LABELS.numpy()).astype(str).astype("category"), "use Y.astype(int)"),
        (FLAT, [str(label) for label in LABELS.tolist()], "use numpy.array(Y).astype(int)"),
    ],
)
def test_a_likely_mistake_is_refused_with_the_way_out(X, Y, way):
    settings = nnlib.Settings(layers_dims=[16, 3], epochs=1, batch_size=4)
    calls = {
        "": [
            lambda: nnlib.predict(X, Y, NETWORK),
            lambda: nnlib.accuracy(X, Y, {name: value[None] for name, value in NETWORK.items()}),
            lambda: nnlib.l_layer_model(X, Y, [16, 3], num_iterations=1, batch_size=4),
        ],
        "train: ": [lambda: nnlib.train_replicas((X, Y), (FLAT, ONE_HOT), settings, [0])],
        "validation: ": [lambda: nnlib.train_replicas((FLAT, ONE_HOT), (X, Y), settings, [0])],
    }
    for before, functions in calls.items():
        for function in functions:
            with pytest.raises(nnlib.InputError) as error:
                function()
            assert str(error.value).startswith((f"{before}X: expected ", f"{before}Y: expected "))
            assert str(error.value).endswith(f"; {way}")
            assert "\n" not in str(error.value)


def test_a_nested_tensor_is_refused_with_the_way_out():
    nested = torch.nested.nested_tensor(list(FLAT), layout=torch.jagged)
    with pytest.raises(nnlib.InputError, match=r"^X: expected one tensor, .*; use torch\.stack\(X\.unbind\(\)\)$"):
        nnlib.predict(nested, ONE_HOT, NETWORK)


@pytest.mark.parametrize(("name", "features", "shape"), [("A", 4, (20, 2, 2)), ("X", 5, (20, 2, 2)), ("X", 1, ())])
def test_only_images_that_would_fit_are_said_to_be_images(name, features, shape):
    assert remedy(name, (features, "m"), shape) == ""


def test_a_layer_s_transpose_is_refused_with_its_own_name():
    parameters = nnlib.initialize_parameters([16, 5, 3], dtype=torch.float64)
    parameters["W2"] = parameters["W2"].T
    with pytest.raises(nnlib.InputError, match=r"parameters: W2: .* got \(5, 3\); W2.T would fit$"):
        nnlib.predict(FLAT, ONE_HOT, parameters)
    parameters["b1"] = parameters["b1"][:, 0]
    with pytest.raises(nnlib.InputError, match=r"parameters: b1: .* got \(5,\); b1\[:, None\] would fit$"):
        nnlib.predict(FLAT, ONE_HOT, parameters)
    parameters["W2"] = [["1"]]
    with pytest.raises(nnlib.InputError, match=r"parameters: W2: .*; use numpy\.array\(W2\)\.astype\(int\)"):
        nnlib.predict(FLAT, ONE_HOT, parameters)
    parameters["W2"] = np.array([[1, None]], object)
    with pytest.raises(nnlib.InputError, match=r"parameters: W2: expected an array of numbers, got object \(1, 2\)$"):
        nnlib.predict(FLAT, ONE_HOT, parameters)


def test_arrays_on_two_devices_are_refused_by_name():
    with pytest.raises(nnlib.InputError, match=r"^A, W, b: expected arrays on one device, got cpu and meta$"):
        nnlib.linear_forward(A.to("meta"), W, b)


@pytest.mark.parametrize(
    ("function", "given", "came"),
    [
        (nnlib.l_model_forward, {"parameters": {}}, "none"),
        (nnlib.l_model_forward, {"parameters": {"W1": W, "W2": W}}, "W1, W2"),
        (nnlib.l_model_backward, {"caches": []}, r"\[\]"),
        (nnlib.l_model_backward, {"caches": CACHES[:-1]}, r"\(4, 5\)"),
        (nnlib.update_parameters, {"grads": {}}, "none"),
        (nnlib.update_parameters, {"grads": {"dW2": W, "dW3": W}}, "dW2, dW3"),
    ],
)
def test_what_came_is_listed_or_none(function, given, came):
    with pytest.raises(nnlib.InputError, match=f", got {came}$"):
        function(**CALLS[function] | given)


def test_a_tensor_without_numbers_is_refused():
    with pytest.raises(nnlib.InputError, match=r"^A: expected an array of numbers, got .* meta, which has none$"):
        nnlib.linear_forward(*(array.to("meta") for array in (A, W, b)))


def test_an_empty_array_is_told_from_one_of_another_shape():
    with pytest.raises(nnlib.InputError, match=r"^W: expected \(\.\.\., out, 4\), none of them 0, got \(0, 4\)$"):
        nnlib.linear_forward(A, W[:0], b)
    with pytest.raises(nnlib.InputError, match=r"^b: expected \(\.\.\., 3, 1\), got \(2, 1\)$"):
        nnlib.linear_forward(A, W, b[:2])
    with pytest.raises(nnlib.InputError, match=r"^parameters: W2: expected \(\.\.\., out2, in2\), got \(1,\)$"):
        nnlib.sum_squared_weights({"W1": W, "W2": [1.0]})
    with pytest.raises(nnlib.InputError, match=r"^Y: expected \(\.\.\., 3, 8\), got \(3, 7\)$"):
        nnlib.predict(X, Y[:, :7], PARAMETERS)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nnlib.initialize_parameters([4]), "layer_dims"),
        (lambda: nnlib.initialize_parameters([4, 3], initialization="zeros"), "initialization"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=-1), "seed"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=[]), "seed"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=[[1], [2, 3]]), "seed.0"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=np.eye(2, dtype=int)), "seed"),
        (lambda: nnlib.initialize_parameters([4, 3], seed=pd.DataFrame([7])), "seed"),
        (lambda: nnlib.predict(X, Y * 0.5, PARAMETERS), "Y"),
        (lambda: nnlib.predict(X, 1 - Y, PARAMETERS), "Y"),
        (lambda: nnlib.initialize_parameters([4, 3], dtype=torch.int64), "dtype"),
        (lambda: nnlib.TrainingData((X, Y), (X, Y), [6]), "layers_dims"),
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
        X,
        Y,
        np.array(DIMS),
        np.float32(0.5),
        np.int64(1),
        np.int32(4),
        "exact",
        torch.tensor(0.5),
        seed=torch.tensor(3),
    )
    expected, _ = nnlib.l_layer_model(X, Y, DIMS, 0.5, 1, 4, "exact", 0.5, seed=3)
    assert all(torch.equal(parameters[name], expected[name]) for name in expected)


def test_an_array_of_a_mapping_has_its_own_name_in_the_call_that_helps():
    with pytest.raises(nnlib.InputError, match=r"^parameters: W2: .*; use W2\.astype\(int\)$"):
        tensor("parameters: W2", np.array(["7"]))


def test_what_is_long_is_told_by_its_ends():
    assert what("a" * 78) == f"'{'a' * 78}'"
    assert what("a" * 79) == f"'{'a' * 49} … {'a' * 19}'"


@pytest.mark.parametrize("seeds", [{0, 1}, b"ab", pd.DataFrame([7, 8]), np.array(3), nnlib.Seeds(0, 1)], ids=str)
def test_seeds_are_a_list(seeds):
    settings = nnlib.Settings(layers_dims=DIMS, epochs=1, batch_size=4)
    with pytest.raises(nnlib.InputError, match=r"^seeds: expected a list of one seed or more"):
        nnlib.train_replicas((X, Y), (X, Y), settings, seeds)


@pytest.mark.parametrize("dims", [{784, 20, 10}, b"ab", np.array(4)], ids=str)
def test_layers_have_an_order(dims):
    with pytest.raises(nnlib.InputError, match=r"^layers_dims: expected"):
        nnlib.Settings(layers_dims=dims)


def test_no_configuration_is_refused():
    with pytest.raises(nnlib.InputError, match=r"^configurations: expected one or more, got none$"):
        dict(nnlib.train_configurations(nnlib.TrainingData((X, Y), (X, Y), DIMS), {}, [0]))


def test_numbers_that_the_precision_cannot_hold_are_refused():
    with pytest.raises(nnlib.InputError, match=r"X: expected numbers that float32 .* can hold, got .*e\+300$"):
        nnlib.TrainingData((X.float(), Y), (X * 1e300, Y), DIMS)


def test_a_class_is_told_by_its_name():
    with pytest.raises(nnlib.InputError, match=r"^dtype: expected torch.float32 or torch.float64, got <class"):
        nnlib.initialize_parameters(DIMS, dtype=np.float32)
