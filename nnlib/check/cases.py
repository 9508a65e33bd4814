"""What each function is tried with, the smallest input first, and in which forms a solution may want it."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np

from nnlib.check.solution import Array, Failure, Solution, Values, filled


def draw(seed: int, *shape: int) -> Array:
    """Numbers with two decimals, the second a 5: easy to check by hand, and never 0."""
    return np.random.default_rng(seed).integers(-19, 20, shape) / 10 + 0.05


def net(seed: int, m: int, *dims: int) -> Values:
    """A network and m examples. No two sizes are equal, so that a shape tells what an array is."""
    network = [(draw(seed + k, dims[k + 1], dims[k]), draw(seed - k, dims[k + 1], 1)) for k in range(len(dims) - 1)]
    grads = [draw(seed + 20 + k, *value.shape) for k, value in enumerate(sum(network, ()))]
    classes = np.eye(max(dims[-1], 2))[: dims[-1], np.arange(m) ** 2 % max(dims[-1], 2)]
    return {"X": draw(seed, dims[0], m), "Y": classes, "network": network, "grads": grads, "m": m, "learning_rate": 0.5}


def easy(case: Values) -> Values:
    """A set that is easy to learn, and how to train on it."""
    dims = [len(case["X"]), *(len(W) for W, _ in case["network"])]
    X = case["X"] + 2 * np.resize(case["Y"], case["X"].shape)
    settings = {"learning_rate": 0.05, "num_iterations": 30, "batch_size": 8}
    return case | settings | {"X": X, "layer_dims": dims, "layers_dims": dims}


def layer(seed: int, m: int, n: int, out: int) -> Values:
    """What the functions of one layer are given."""
    forward = {"A": draw(seed, n, m), "W": draw(seed + 1, out, n), "b": draw(seed + 2, out, 1)}
    Z, dA = draw(seed + 3, out, m), draw(seed + 4, out, m)
    Y = np.eye(out)[:, np.arange(m) % out]
    return forward | {"Z": Z, "dA": dA, "dZ": dA, "dA_norm": draw(seed + 5, n, m), "Y": Y}


def cases(name: str, output: str) -> list[Values]:
    """The arguments of the right function, among others. Where there is an L2, the difference that it makes is
    compared."""
    last = (1, 1) if output == "sigmoid" else (2, 3)
    # In the larger network a unit is 0 for all examples.
    nets = [net(31, 5, 3, 4, last[0]), net(43, 7, 4, 6, 5, last[1])]
    # Some units hardly vary, one not at all: there it matters what ε is, and where.
    tiny = np.vstack([draw(4, 3, 5) * [[1], [1e-3], [1e-6]], np.full(5, 0.5)])
    # A softmax may give 0, and 0 log 0 must be 0; a sigmoid hardly does.
    ALs = [[[0.7, 0.2, 0.1], [0.3, 0.8, 0.9]], [[0.6, 0, 0.3, 0.2], [0.3, 0.9, 0.3, 0.5], [0.1, 0.1, 0.4, 0.3]]]
    costs = [
        net(1, len(AL[0]), 5, 6, k) | {"AL": np.array(AL)[:k] + 0.05 * (k == 1)}
        for AL, k in zip(ALs, last, strict=True)
    ]
    layers = [layer(8, 3, 2, 1), layer(4, 5, 4, 3)]
    tried = {
        "linear_forward": [layers[0], layer(4, 3, 4, 3)],
        "softmax": [{"Z": draw(9, 3, 2)}, {"Z": np.array([[1000, 1], [999, 2], [-1000, 0.5]])}],
        "linear_activation_forward": [one | {"activation": kind} for one in layers for kind in ("relu", output)],
        "apply_batchnorm": [{"A": np.array([[1.0, 2, 6], [0, 4, 2]])}, {"A": tiny}],
        "compute_cost": costs,
        "cost_with_l2": costs,
        "softmax_backward": layers[1:],
        "predict": [net(seed, 30, 4, 6, 5, last[1]) for seed in (31, 41, 51)],
        "l_layer_model": [easy(net(61, 40, 4, 8, 6, last[1]))],
    }.get(name, nets if name in ("l_model_forward", "l_model_backward", "update_parameters") else layers)
    if name in ("l_model_forward", "l_model_backward", "predict"):
        tried = [one | {"use_batchnorm": on, "output": output} for one in tried for on in (False, True)]
    if name in ("compute_cost", "cost_with_l2", "linear_backward", "l_model_backward", "update_parameters"):
        decayed = [one | {"L2": 0.7} for one in tried if not one.get("use_batchnorm")]
        tried = decayed if name == "cost_with_l2" else tried + decayed
    return tried


def forms(solution: Solution, name: str, case: Values) -> Iterator[Values]:
    """The arguments by role, in every form that solutions were seen to take: X in rows, Y as labels, caches of its own
    or as usual."""
    roles = {slot.role for slot in solution.slots.get(name, ())}
    for X in [case["X"], case["X"].T] if "X" in case else [None]:
        with suppress(Failure):
            some = alternatives(solution, name, {"use_batchnorm": False, "L2": 0.0} | case | {"X": X})
            used = {role: values for role, values in some.items() if role in roles}
            yield from (dict(zip(used, values, strict=True)) for values in product(*used.values()))


def alternatives(solution: Solution, name: str, case: Values) -> dict[str, list[Any]]:
    """What each role may be."""

    def kept(function: str, **values: Any) -> list[Any]:
        """What the solution's forward function returns behind its first result, if it does."""
        with suppress(Failure):
            result, _ = solution.call(function, values)
            results = list(result.values()) if isinstance(result, dict) else result
            return list(results[1:2]) if isinstance(results, tuple | list) else []
        return []

    def kept_by_layer(A: Array, W: Array, b: Array) -> list[Any]:
        given = {"A": A, "W": W, "b": b}
        return [
            one for kind in some["activation"] for one in kept("linear_activation_forward", activation=kind, **given)
        ]

    some = {role: [value] for role, value in case.items()}
    activation = case.get("activation", "relu" if name.startswith("linear") else name.removesuffix("_backward"))
    some["activation"] = [activation, solution.functions.get(activation)]
    usual = not solution.rows
    if "Y" in case:
        some["Y"] = [case["Y"], case["Y"].T, case["Y"].argmax(0)]
    if name == "l_layer_model":
        some |= {"X_val": [None, case["X"]], "Y_val": [None, *some["Y"]]}
    if "network" in case:
        some["parameters"] = [solution.parameters(case["network"])]
    if name in ("linear_backward", "linear_activation_backward"):
        A, W, b = given = case["A"], case["W"], case["b"]
        linear = kept("linear_forward", A=A, W=W, b=b) + (
            [given, {"A": A, "A_prev": A, "W": W, "b": b}] if usual else []
        )
        pairs = [(one, {"Z": W @ A + b}) for one in linear[:1]]
        some["cache"] = kept_by_layer(A, W, b) + (linear if name == "linear_backward" else pairs)
    elif name == "batchnorm_backward":
        some["cache"] = [case["A"], *kept("apply_batchnorm", A=case["A"])]
    elif name in ("relu_backward", "sigmoid_backward", "softmax_backward"):
        Z = case["Z"]
        caches = kept(activation, Z=Z) + kept_by_layer(Z, np.eye(len(Z)), np.zeros((len(Z), 1)))
        caches += [Z, {"Z": Z}] if usual else []
        if name == "softmax_backward":
            # With the cross-entropy it may be given AL − Y, or AL and Y.
            AL, Y = np.exp(Z) / np.exp(Z).sum(0), case["Y"]
            some["dA"] += [AL - Y, AL, Y]
            caches += [Y, (Z, Y), {"Z": Z, "Y": Y, "AL": AL}]
        some["activation_cache"] = caches
    elif name == "l_model_backward":
        result, _ = solution.call("l_model_forward", {role: values[0] for role, values in some.items()})
        some |= {"AL": [result[0]], "caches": [result[1]]}
    elif name == "update_parameters":
        grads: Any = {f"d{'Wb'[k % 2]}{k // 2 + 1}": grad for k, grad in enumerate(case["grads"])}
        for form in forms(solution, "l_model_backward", case) if "l_model_backward" in solution.functions else ():
            with suppress(Failure):
                grads, _ = solution.call("l_model_backward", form)
                break
        some["grads"] = [filled(grads, case["grads"])]
    return some
