"""A solution's functions against the right ones, and against every known mistake."""

import inspect
import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import torch

from nnlib.check import reference
from nnlib.check.cases import cases, forms
from nnlib.check.report import WRONG, Verdict, distance, known, plain
from nnlib.check.solution import TABLE, Array, Failure, Solution, Values

Results = list[Array]
Parts = Mapping[str, Callable[..., Any]]

EPSILONS = [1e-8, *(float(f"1e-{k}") for k in range(15, 1, -1) if k != 8), np.finfo(float).eps, np.finfo("f").eps]
RIGHT: dict[str, Callable[..., Any]] = {name: getattr(reference, name) for name in TABLE if hasattr(reference, name)}
ASKED = {name: list(inspect.signature(function).parameters) for name, function in RIGHT.items()}
BACKWARD = ("linear_backward", "relu_backward")
PARTS = ("linear_forward", "relu", "softmax", "sigmoid", "apply_batchnorm", *BACKWARD)
# A layer's backward that lacks one of these arguments cannot compute what the assignment asks for.
NEEDED = {name: TABLE[name]["given"].split() for name in TABLE if re.fullmatch("[a-z]+_backward", name)}
# What a result may be, one as good as the other.
MEANINGS: dict[str, list[Values]] = {
    "softmax_backward": [{}, {"short": True}],
    "predict": [{"gives": "share"}, {"gives": "percent"}, {"gives": "classes"}],
}


class Outcome(NamedTuple):
    """What a function gave, the keywords with which the right one gives the same, and whether it changed an
    argument."""

    results: Results
    means: Values
    changed: bool


class Judge:
    """Judges one solution, each function once.

    Attributes
    ----------
    judged : the verdicts so far
    made_of : for each function that was compared, the functions it builds on: the right ones, or the solution's own
    output : the activation of the last layer, "softmax" or "sigmoid"
    placed : where the solution's network has its batch norm, as keywords of the right function
    """

    def __init__(self, namespace: Mapping[str, Any], skip: Collection[str] = ()) -> None:
        self.solution = Solution(namespace, skip)
        self.skip, self.judged, self.made_of, self.placed = skip, dict[str, Verdict](), dict[str, Parts](), Values()
        self.output = "sigmoid" if {"sigmoid", "softmax"} & self.solution.functions.keys() == {"sigmoid"} else "softmax"
        norm = {"apply_batchnorm": lambda A: reference.apply_batchnorm(A, epsilon=1e-8)}
        self.right: Parts = {name: RIGHT[name] for name in PARTS} | norm
        self.own: Parts = {name: self.part(name) for name in PARTS}
        self.own_forward: Parts = {**self.own, **{name: RIGHT[name] for name in BACKWARD}}
        for self.solution.rows in (True, False):
            with suppress(Failure):
                self.outcomes("linear_forward", cases("linear_forward", self.output)[0])
                break

    def verdicts(self) -> Iterator[Verdict]:
        """In the table's order."""
        yield from (self.judge(name) for name in TABLE if name not in self.skip)

    def judge(self, name: str) -> Verdict:
        if name not in self.judged:
            verdict = self.judged[name] = Verdict(name)
            if name in self.solution.functions:
                verdict.called, verdict.status = self.solution.called[name], "not judged"
                try:
                    if lacking := [one for one in NEEDED.get(name, []) if not self.solution.takes(name, one)]:
                        raise Failure(f"it does not take the {lacking[0]} that the assignment gives it")
                    (self.compare if name in RIGHT else self.try_out)(verdict)
                except Failure as failure:
                    verdict.note = str(failure)
        return self.judged[name]

    def part(self, name: str) -> Callable[..., Any]:
        """The solution's function, called as the right one is; the right one where the solution's fails."""

        def function(*arguments: Any) -> Any:
            with suppress(Failure):
                found = self.outcomes(name, dict(zip(ASKED[name], arguments, strict=False)))[0].results
                return found[0] if len(found) == 1 else found
            return self.right[name](*arguments)

        return function

    def outcomes(self, name: str, case: Values) -> list[Outcome]:
        """What the solution's function gives in this case, in every form of its arguments that works."""
        m = next((case[key].shape[1] for key in ("X", "AL", "A", "Z") if key in case), 0)
        if name not in self.solution.functions:
            raise Failure("missing")
        found = []
        failures = [Failure("its own forward function gives nothing to call it with")]
        for values in forms(self.solution, name, case):
            for means in MEANINGS.get(name, [{}]):
                try:
                    result, changed = self.solution.call(name, values)
                    shapes = [one.shape for one in self.expected(name, case, means, self.right)]
                    found.append(Outcome(self.solution.results(result, shapes, m), means, changed))
                except Failure as failure:
                    failures.append(failure)
        if not found:
            raise failures[:2][-1]
        return found

    def observed(self, name: str, case: Values) -> list[Outcome]:
        """The outcomes, or where there is a λ the difference that it makes."""
        found = self.outcomes(name, case)
        if "L2" in case and self.solution.takes(name, "L2"):
            off = self.outcomes(name, case | {"L2": 0.0})
            found = [on._replace(results=minus(on.results, one.results)) for on, one in zip(found, off, strict=True)]
        return found

    def expected(self, name: str, case: Values, options: Values, parts: Parts) -> Results:
        """What the function gives, right or with a mistake."""
        every = {"parts": parts, "epsilon": 1e-8} | self.placed | case | options
        with np.errstate(all="ignore"):
            result = RIGHT[name](**{key: every[key] for key in ASKED[name] if key in every})
        found = [np.asarray(one, dtype=float) for one in (result if isinstance(result, list | tuple) else [result])]
        return minus(found, self.expected(name, case, options | {"L2": 0.0}, parts)) if every.get("L2") else found

    def same(self, name: str, got: Results, expected: Results) -> bool:
        """Equal but for rounding."""
        tolerance = 1e-4 if name in self.solution.coarse else 1e-6
        return all(distance(*pair) <= tolerance for pair in zip(got, expected, strict=True))

    def concerns(self, name: str, case: Values) -> bool:
        """Whether the solution can be given what the case has: batch norm, λ."""
        takes = self.solution.takes
        normalizes = any(not slot.variable for slot in takes("l_model_forward", "use_batchnorm"))
        if name == "predict" and normalizes and not takes(name, "use_batchnorm"):
            return bool(case["use_batchnorm"])
        decays = takes(name, "L2") or (name == "cost_with_l2" and not takes(name, "AL"))
        return case.get("use_batchnorm", False) <= normalizes and ("L2" in case) <= bool(decays)

    def explanations(self, name: str) -> Iterator[tuple[list[str], Values, Parts]]:
        """No mistake, then one, two, and three unless it calls others: names, keywords, and the functions that it
        calls."""
        table, composed = known(name), "parts" in ASKED[name]
        # Batch norm needs an ε, a cost only needs something that keeps 0 log 0 from being NaN.
        epsilons = {"apply_batchnorm": EPSILONS, "compute_cost": [*EPSILONS, 0.0]}.get(name, [1e-8])
        # A λ that can only be switched on is among the numbers in the solution.
        switched = "L2" in ASKED[name] and all(slot.switch for slot in self.solution.takes(name, "L2"))
        strengths = [{"L2": number} for number in self.solution.numbers] if switched else []
        sizes, parts = (range(3), [self.right, self.own_forward, self.own]) if composed else (range(4), [self.right])
        for size, made_of in product(sizes, parts):
            for names, epsilon, strength in product(combinations(table, size), epsilons, strengths or [{}]):
                makes = [item for one in names for item in table[one]["makes"].items()]
                if len(dict(makes)) == len(makes):
                    yield list(names), {"epsilon": epsilon, "strength": strength} | dict(makes), made_of

    def compare(self, verdict: Verdict) -> None:
        name = verdict.function
        seen = [(case, self.observed(name, case)) for case in cases(name, self.output) if self.concerns(name, case)]
        if name != "cost_with_l2" and all(slot.variable for slot in self.solution.takes(name, "L2")):
            # A global λ need not be for this function.
            seen = [one for one in seen if "L2" not in one[0] or any(result.any() for result in one[1][0].results)]
        changed = any(found[0].changed for _, found in seen)

        def fits(options: Values, parts: Parts) -> bool:
            if options.get("changes", False) != changed:
                return False
            for case, found in seen:
                tried = case | (options["strength"] if "L2" in case else {})
                if not any(
                    self.same(name, one.results, self.expected(name, tried, options | one.means, parts))
                    for one in found
                ):
                    return False
            return True

        explanation = next((one for one in self.explanations(name) if fits(*one[1:])), None)
        names, options, parts = explanation or ([], {"epsilon": 1e-8}, self.right)
        self.made_of[name] = parts
        if name == "l_model_forward":
            self.placed = {key: value for key, value in options.items() if key == "normalized"}
        verdict.mistakes = [one for one in names if not self.made_up_for(name, one)]
        if name == "l_model_backward" and self.only_in_cost():
            verdict.mistakes.append("λ only in the cost")
        harm = any(not known(name)[one].get("remark") for one in verdict.mistakes)
        verdict.status = "different" if explanation is None else "known mistake" if harm else "right"
        if parts is not self.right and any(self.judged[part].status in WRONG for part in PARTS if part in self.judged):
            verdict.note = "judged with the solution's own versions of the functions that it calls, mistakes included"
        for case, found in seen if verdict.status in WRONG else ():
            fixed = {"epsilon": options["epsilon"] or 1e-8}
            pairs = [(one.results, self.expected(name, case, fixed | one.means, parts)) for one in found]
            if not any(self.same(name, *pair) for pair in pairs):
                titles = TABLE[name]["gives"].split()
                verdict.input = plain(named({key: case[key] for key in ASKED[name] if key in case}))
                verdict.got, verdict.expected = (plain(dict(zip(titles, some, strict=False))) for some in pairs[0])
                break

    def made_up_for(self, name: str, mistake: str) -> bool:
        """Whether another function of the solution makes up for a mistake."""
        if mistake == "no guard of the logarithm":
            return bool(self.own[self.output](np.array([[0.0], [-2000.0]])).min() > 0)
        if name == "linear_backward" and mistake in ("summed gradients", "λ not divided by m"):
            # Some divide by m at the end.
            whole = self.judge("l_model_backward")
            divided = whole.status in ("right", "known mistake") and mistake not in whole.mistakes
            return divided and self.made_of["l_model_backward"] is not self.own
        if mistake == "evaluated without batch norm":
            return not self.trains_with_batchnorm()
        return False

    def trains_with_batchnorm(self) -> bool:
        """Whether batch norm is asked for or called in training; True, too, where that cannot be told."""
        takes, forward = self.solution.takes, self.solution.functions.get("l_model_forward")
        names, own = getattr(forward, "__globals__", {}), self.solution.called.get("apply_batchnorm", "")
        trained = self.judge("l_layer_model").status not in ("missing", "not judged")
        if takes("l_layer_model", "use_batchnorm") or own not in names or not trained:
            return True
        normalize, calls = names[own], list[None]()

        def counted(*arguments: Any, **more: Any) -> Any:
            calls.append(None)
            return normalize(*arguments, **more)

        names[own] = counted
        try:
            self.trains()
        finally:
            names[own] = normalize
        return bool(calls)

    def only_in_cost(self) -> bool:
        """Whether the cost has λ, and neither a gradient nor the update nor what is trained."""
        takes = self.solution.takes
        in_cost = takes("compute_cost", "L2") or "cost_with_l2" in self.solution.functions
        elsewhere = any(takes(one, "L2") for one in ("linear_backward", "l_model_backward", "update_parameters"))
        if not in_cost or elsewhere:
            return False
        trained = self.judge("l_layer_model")
        return trained.status in ("missing", "not judged") or "L2 makes no difference" in trained.mistakes

    def try_out(self, verdict: Verdict) -> None:
        """What has no formula: the first parameters, and training."""
        flags = self.initializes() if verdict.function == "initialize_parameters" else self.trains()
        mistakes = TABLE[verdict.function]["mistakes"]
        verdict.mistakes = [name for name, flag in zip(mistakes, flags, strict=True) if not flag]
        verdict.status = "known mistake" if verdict.mistakes else "right"

    def initializes(self) -> list[bool]:
        """Are the weights drawn, the biases 0, and the standard deviations of wide layers' weights below 0.7?"""
        result, _ = self.solution.call("initialize_parameters", {"layer_dims": [300, 200, 100]})
        W1, b1, W2, b2 = self.solution.results(result, [(200, 300), (200, 1), (100, 200), (100, 1)])
        return [min(W1.std(), W2.std()) > 0, not (b1.any() or b2.any()), max(W1.std(), W2.std()) < 0.7]

    def trains(self) -> list[bool]:
        """Does the cost fall on an easy set, and do λ and batch norm make a difference to the trained weights?"""
        (case,) = cases("l_layer_model", self.output)
        shapes = [value.shape for layer in case["network"] for value in layer]

        def weights(name: str, **switches: Any) -> Results:
            failures = [Failure("it cannot be called")]
            for values in forms(self.solution, name, case | switches):
                for seed in (random.seed, np.random.seed, torch.manual_seed):
                    seed(0)
                try:
                    return self.solution.results(self.solution.call(name, values)[0], shapes)
                except Failure as failure:
                    failures.append(failure)
            raise failures[:2][-1]

        def cost(values: Results) -> float:
            network = list(zip(values[::2], values[1::2], strict=True))
            AL = reference.l_model_forward(case["X"], network, False, self.output, parts=self.right)
            return float(reference.compute_cost(AL, case["Y"], network, epsilon=1e-8))

        def matters(role: str, value: Any) -> bool:
            other = weights("l_layer_model", **{role: value}) if self.solution.takes("l_layer_model", role) else None
            return other is None or not self.same("l_layer_model", other, trained)

        trained = weights("l_layer_model")
        learns = cost(trained) < cost(weights("initialize_parameters"))
        if not learns and "l_model_forward" not in self.solution.functions:
            raise Failure("it has no l_model_forward that tells how its network is evaluated")
        return [learns, matters("L2", 5.0), matters("use_batchnorm", True)]


def minus(on: Results, off: Results) -> Results:
    """The difference that λ makes."""
    return [a - b for a, b in zip(on, off, strict=True)]


def named(values: Values) -> Values:
    """The arguments of a right function, with a name for every array of a network and of its gradients."""
    layers = {f"{'Wb'[k % 2]}{k // 2 + 1}": one for k, one in enumerate(sum(values.get("network", []), ()))}
    grads = dict(zip((f"d{name}" for name in layers), values.get("grads", ()), strict=False))
    return {key: one for key, one in values.items() if key not in ("network", "grads", "output")} | layers | grads
