"""Somebody's functions: found by their names, called with what they ask for; results are told apart by their shapes."""

import copy
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ruamel.yaml import YAML
from torch import Tensor

Array = np.ndarray
Network = list[tuple[Array, Array]]
Values = dict[str, Any]

TABLE: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("mistakes.yaml"))
ANY = TABLE.pop("any")
# What people call an argument or a global variable; all other arguments are known by their position.
ROLES = {
    "L2": "l2|lam|lmda|^reg|decay",
    "use_batchnorm": "(batch_?norm|use_?b|bnorm)(?!.*cache)",
    "parameters": "^(global_?)?(para?m|weights)",
    "learning_rate": "learn|^lr$|alpha",
    "num_iterations": "iter|epoch",
    "batch_size": "batch_?size",
    "W": "^W$",
    "gamma": "^gamma$",
    "beta": "^beta$",
    "epsilon": "eps",
    "keep": "keep",
    "off": "drop|print|verbose|plot|seed",
    "X_val": "(?=.*(val|dev))(^|.*_)x(_|$|val)",
    "Y_val": "(?=.*(val|dev))(^|.*_)y(_|$|val)",
}
# Those that may also be global variables, and of which types.
VARIABLES: dict[str, tuple[type, ...]] = {
    "L2": (bool, int, float),
    "use_batchnorm": (bool,),
    "parameters": (dict,),
    "gamma": (int, float),
    "beta": (int, float),
    "X_val": (type(None), np.ndarray),
    "Y_val": (type(None), np.ndarray),
}
NEUTRAL = {"gamma": 1.0, "beta": 0.0, "epsilon": 1e-8, "keep": 1.0, "off": False}
PER_EXAMPLE = {"A", "Z", "X", "Y", "AL", "dA", "dZ", "dA_norm", "X_val", "Y_val"}


class Failure(Exception):
    """A function of the solution cannot be called, or gives nothing that fits."""


class Slot(NamedTuple):
    """A parameter of a function or a global variable, and the role of what is put there."""

    role: str
    name: str
    required: bool
    switch: bool
    variable: bool


class Solution:
    """A solution's functions, and how they are called.

    Attributes
    ----------
    called : for each function of the assignment, what the solution calls its own
    functions, slots : for each of these the function, and what it is given
    numbers : the numbers between 0 and 1 in its code, one of which may be its λ
    rows : True if its arrays have one row for each example, False if they have one column
    coarse : the functions that could only be called with float32
    kinds : the types of tensors that it may want, None for NumPy arrays
    """

    def __init__(self, namespace: Mapping[str, Any], skip: Collection[str] = ()) -> None:
        functions = {name: one for name, one in namespace.items() if inspect.isroutine(one) or isinstance(one, partial)}
        routines = methods(namespace) | functions
        # A built-in function, such as torch.sigmoid, does not say what it takes.
        routines = {name: one for name, one in routines.items() if not inspect.isbuiltin(one)}
        patterns = {
            name: entry.get("called", name.replace("_", "_?")) for name, entry in TABLE.items() if name not in skip
        }
        self.called = {
            name: own for name, pattern in patterns.items() for own in routines if re.fullmatch(pattern, own, re.I)
        }
        self.functions: dict[str, Callable[..., Any]] = {name: routines[own] for name, own in self.called.items()}
        self.slots = {name: list(self._slots(name)) for name in self.functions}
        codes = [getattr(routine, "__code__", None) for routine in routines.values()]
        constants = [*namespace.values(), *(one for code in codes for one in getattr(code, "co_consts", ()))]
        self.numbers = sorted({one for one in constants if type(one) is float and 0 < one < 1})
        self.rows, self.coarse = False, set[str]()
        self.kinds: list[Any] = [None, torch.float64, torch.float32]
        if "initialize_parameters" in self.functions:
            W = next(arrays(self.parameters([(np.zeros((3, 4)), np.zeros((3, 1)))])), None)
            self.kinds = self.kinds[1:] if isinstance(W, Tensor) else self.kinds[:1]

    def _slots(self, name: str) -> Iterator[Slot]:
        given = TABLE[name]["given"].split()
        others = {*given} - {"parameters"} | ({"X_val", "Y_val"} if name != "l_layer_model" else set())
        named = {role: pattern for role, pattern in ROLES.items() if role not in others}
        for one in inspect.signature(self.functions[name]).parameters.values():
            if one.kind is not one.VAR_POSITIONAL and one.kind is not one.VAR_KEYWORD:
                fitting = (role for role, pattern in named.items() if re.search(pattern, one.name, re.I))
                role = None if isinstance(one.default, str) else next(fitting, None)
                switch = isinstance(one.default, bool) or one.annotation in (bool, "bool")
                role = role or (given[0] if given else "")
                if role in given:
                    given.remove(role)
                    named.pop(role, None)
                # Dropout that is on unless told otherwise is switched off.
                on = role in ("keep", "off") and type(one.default) is float and one.default != 1
                yield Slot(role, one.name, one.default is one.empty or on, switch, False)
        for variable, value in getattr(self.functions[name], "__globals__", {}).items():
            for role, types in VARIABLES.items():
                if type(value) in types and re.search(ROLES[role], variable, re.I):
                    yield Slot(role, variable, False, type(value) is bool, True)

    def takes(self, name: str, role: str) -> list[Slot]:
        return [slot for slot in self.slots.get(name, ()) if slot.role == role]

    def call(self, name: str, values: Values) -> tuple[Any, bool]:
        """What the function gives for these values, and whether it has changed one of them."""
        failures = ["missing"]
        for kind in self.kinds if name in self.functions else ():
            own = {role: self._own(value, role, kind) for role, value in values.items()}
            before = {role: numbers(own[role]) for role in own.keys() - {"caches"}}
            try:
                result = self._put(name, own)
            except (Exception, SystemExit) as error:
                failures.append(f"{type(error).__name__}: {error}".split("\n")[0][:200])
                continue
            if kind is torch.float32:
                self.coarse.add(name)
            pairs = {role: zip(arrays, numbers(own[role]), strict=False) for role, arrays in before.items()}
            changed = [
                role for role in before if not all(np.array_equal(*pair, equal_nan=True) for pair in pairs[role])
            ]
            return [own[role] for role in changed] if result is None else result, bool(changed)
        raise Failure(failures[:2][-1])

    def _put(self, name: str, values: Values) -> Any:
        """Call the function with each value as the argument or, during the call, the global variable that it asks
        for."""
        where: dict[bool, Values] = {True: {}, False: {}}
        for slot in self.slots[name]:
            known = NEUTRAL | values if slot.required or slot.variable else values
            if slot.role in known:
                value = known[slot.role]
                where[slot.variable][slot.name] = bool(value) if slot.switch else value
            elif slot.required:
                raise TypeError(f"it asks for {slot.name}, which the assignment does not have")
        variables = getattr(self.functions[name], "__globals__", {})
        before = {variable: variables[variable] for variable in where[True]}
        variables.update(where[True])
        try:
            with np.errstate(all="ignore"):
                return self.functions[name](**where[False])
        finally:
            variables.update(before)

    def _own(self, value: Any, role: str, kind: Any) -> Any:
        """A copy in the solution's kind of numbers, with one row for each example if the solution has them so."""
        turned = self.rows and role in PER_EXAMPLE and isinstance(value, Array) and value.dtype == float

        def tensor(one: Any) -> Any:
            one = torch.as_tensor(one)
            return one.to(kind) if one.is_floating_point() else one

        value = value.T.copy() if turned else copy.deepcopy(value)
        return replaced(value, tensor) if kind else value

    def parameters(self, network: Network) -> Any:
        """The network as the solution keeps one: what its `initialize_parameters` gives, with these numbers."""
        values = [value for layer in network for value in layer]
        try:
            dims = [network[0][0].shape[1], *(len(W) for W, _ in network)]
            result = filled(self.call("initialize_parameters", {"layer_dims": dims})[0], values)
            if isinstance(result, tuple):
                # All parameters, and something else.
                with suppress(Failure, IndexError):
                    self.results(result[0], [value.shape for value in values])
                    return result[0]
            return result
        except Failure:
            return {f"{'Wb'[k % 2]}{k // 2 + 1}": value for k, value in enumerate(values)}

    def results(self, result: Any, shapes: list[tuple[int, ...]], m: int = 0) -> list[Array]:
        """For each shape the first array that has it, or has it transposed or flattened, as solutions keep biases and
        examples."""
        left, found = numbers(result), []
        for shape in shapes:
            turned = self.rows and shape[1:] == (m,)
            fits = [shape[::-1] if turned else shape]
            fits += [(1,), (1, 1)] if not shape else [shape[:1], (1, shape[0])] if shape[1:] == (1,) else []
            fits += [(1, *shape)] if len(shape) == 1 else []
            k = next((k for fit in fits for k, one in enumerate(left) if one.shape == fit), None)
            if k is None:
                came = ", ".join(str(one.shape) for one in left) or "nothing"
                raise Failure(f"expected an array of shape {shape}, got {came}")
            one = left.pop(k)
            found.append((one.T if turned else one).reshape(shape))
        return found


def methods(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The methods of the one class that has the assignment's functions, of an object made without arguments."""
    layer = re.compile("(linear|l_?model)_?(forward|backward)", re.I)
    classes = {one for one in namespace.values() if isinstance(one, type) and any(map(layer.fullmatch, vars(one)))}
    if len(classes) != 1:
        return {}
    (one,) = classes
    try:
        instance = one()
    except (Exception, SystemExit):
        instance = object.__new__(one)
    return {name: getattr(instance, name) for name in dir(one) if inspect.isroutine(getattr(one, name))}


def arrays(value: Any) -> Iterator[Any]:
    """The arrays, tensors and numbers of a nested value, in its order."""
    if isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from arrays(one)
    elif (
        isinstance(value, int | float | np.number)
        or (isinstance(value, Array) and value.dtype.kind in "biuf")
        or (isinstance(value, Tensor) and value.layout is torch.strided and value.device.type != "meta")
    ):
        yield value


def numbers(value: Any) -> list[Array]:
    return [np.array(one.detach() if isinstance(one, Tensor) else one, dtype=float) for one in arrays(value)]


def replaced(value: Any, replace: Callable[[Any], Any]) -> Any:
    """A copy of a nested value with its arrays and tensors replaced."""
    if isinstance(value, dict):
        return {key: replaced(one, replace) for key, one in value.items()}
    if isinstance(value, list | tuple):
        items = [replaced(one, replace) for one in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return replace(value) if isinstance(value, Array | Tensor) else value


def filled(value: Any, numbers: list[Array]) -> Any:
    """A copy of a nested value, with each array replaced by the one of `numbers` that has its shape."""

    def number(one: Any) -> Any:
        fits = (
            number
            for number in numbers
            if tuple(one.shape) in (number.shape, number.squeeze(-1).shape if number.shape[1] == 1 else None)
        )
        found = next(fits, one)
        if isinstance(one, Tensor):
            return torch.as_tensor(found, dtype=one.dtype).reshape(one.shape)
        return np.reshape(found, one.shape)

    return replaced(value, number)
