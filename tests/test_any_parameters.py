"""Whatever the door of the parameters lets in comes through every stage to verdicts and a report.

pytest tests/test_any_parameters.py                                   one set of parameters, of a mixture
pytest tests/test_any_parameters.py --hypothesis-profile=thorough     500
"""

import contextlib
import html
import json
import re
import shutil
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pipeline import REPOSITORY, TINY

from nnlib import train_replicas
from nnlib.data.mnist import load_raw
from stages import (
    alternatives,
    check,
    configurations,
    evaluate,
    parameters,
    preprocess,
    report,
    timing,
    train,
    verdicts,
    weight_diff,
)
from stages.common import PUBLISHED, TIMING
from stages.reporting.catalogue import CATALOGUE
from stages.store import keys

RAW = parameters.read_yaml(REPOSITORY / "params.yaml")
EXPERIMENTS = parameters.read_yaml(REPOSITORY / "dvc.yaml")["stages"]["experiment"]["foreach"]
EIGHT_HIDDEN = [784, 9, 8, 8, 7, 7, 6, 6, 5, 10]


def merged(one: dict, other: dict) -> dict:
    """One nested mapping with the values of the other."""
    result = deepcopy(one)
    for name, value in other.items():
        result[name] = merged(result[name], value) if isinstance(value, dict) else value
    return result


SMALL = merged(RAW, TINY | {"device": "cpu"})
SMALL = merged(SMALL, {"preprocess": {"examples": 400}, "timing": {"steps": 2}})


def some(*values):
    return st.sampled_from(values)


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(1, 4),
        "seed": some(0, 1, 2**62 - 1),
        "epochs": st.integers(1, 3),
        "batch_size": some(1, 7, 32, 150),  # no training set is smaller: 300 examples, half of them held out
        "learning_rate": some(1e-30, 0.009, 0.5, 1000, 1e5, 1e10, 1e38),
        "l2": some(0, 1e-5, 0.01, 1, 1e38),
        "reshuffle": st.booleans(),
        "network": st.fixed_dictionaries(
            {},
            optional={
                "layers_dims": some(
                    [784, 10],
                    [784, 30, 10],
                    [784, 1, 10],
                    [784, 16, 16, 8, 8, 10],
                    EIGHT_HIDDEN,
                ),
                "initialization": some("he_fan_out", "he_fan_in", "xavier"),
            },
        ),
        "stopping": st.fixed_dictionaries(
            {},
            optional={
                "rule": some("change", "improvement"),
                "look_every": some(1, 5, 100, 10**6),
                "patience": some(1, 3, 100),
                "threshold": some(0, 1e-9, 0.1, 1e9),
            },
        ),
        "preprocess": st.fixed_dictionaries(
            {},
            optional={
                "pool": some("train", "all"),
                "examples": some(300, 401),
                "test": some(0.01, 0.2, 0.25),
                "validation": some(0.01, 0.2, 0.25),
                "seed": some(0, 2**62 - 1),
            },
        ),
        "grid": st.fixed_dictionaries(
            {},
            optional={
                "batch_size": some([32], [32.0, 64], [7, 128, 32, 1]),
                "epochs": some([1], [2, 1], [50, 1]),
                "l2": some([0], [0, "1e-5"], [0.04, 0.01], [0.01, 0.010001], [1e38]),
            },
        ),
        "evidence": st.fixed_dictionaries(
            {},
            optional={
                "confidence": some(0.01, 0.5, 0.9, 0.999),
                "draws": some(1, 100),
                "seed": some(0, 2**62 - 1),
                "early_steps": some(1, 10, 10**6),
                "collapsed_below": some(0.01, 0.5, 0.99),
            },
        ),
    },
)


@pytest.fixture(scope="module")
def raw(mnist):
    return load_raw(mnist)


@contextlib.contextmanager
def pipeline(changes: dict, raw):
    """A folder in which every stage has run, in this process, as dvc.yaml has them, with these parameters."""
    with TemporaryDirectory() as name, contextlib.chdir(name), pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "load_raw", lambda _: raw)
        patch.delenv("REPLICA_STORE", raising=False)
        for file in ("dvc.yaml", PUBLISHED):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, file)
        params = parameters.check(merged(SMALL, changes))
        check.main(params)
        preprocess.main(params)
        train.main(params, "grid")
        evaluate.main(params, "grid")
        for key, item in EXPERIMENTS.items():
            l2 = str(item["l2"]).replace("${l2}", str(params.l2))
            train.main(params, f"experiment-{key}", "--batchnorm", item["batchnorm"], "--l2", l2)
            evaluate.main(params, f"experiment-{key}")
        alternatives.main(params, *(f"experiment-{key}" for key in "1234"))
        evaluate.main(params, "alternatives", "runs", "replicas")
        # As an experiment that is no more leaves its results.
        shutil.copytree("reports/runs/experiment-1", "reports/runs/experiment-gone")
        for stage in (weight_diff, timing, verdicts, report):
            stage.main(params)
        yield params, Path(name) / "reports"


@pytest.mark.parametrize(("rate", "whole"), [(0.009, True), (1e38, False)])
def test_what_is_timed_is_every_step_whatever_the_stopping_rule_or_nothing(rate, whole, raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preprocess, "load_raw", lambda _: raw)
    trained = []
    monkeypatch.setattr(
        timing, "train_replicas", lambda *a, **b: trained.append(train_replicas(*a, **b)) or trained[-1]
    )
    impatient = {"patience": 1, "threshold": 1e9, "look_every": 1}
    params = parameters.check(merged(SMALL, {"replicas": 2, "learning_rate": rate, "stopping": impatient}))
    preprocess.main(params)
    timing.main(params)
    times = pd.read_csv(TIMING).set_index("code")
    assert times["steps"].to_dict() == {"loop": 2, "engine": 2 * timing.EPOCHS["engine"]}
    assert times.filter(like="experiment").notna().all(axis=None) == whole
    assert {one.step for one in trained if one.running.all()} == ({10} if whole else set())


def test_an_experiment_may_take_its_l2_from_anywhere_in_the_parameters():
    params = parameters.check(merged(SMALL, {"grid": {"l2": [0, 0.3]}}))
    items = {"a": {"batchnorm": "none", "l2": "${grid.l2[1]}"}, "b": {"batchnorm": "exact", "l2": "${l2}"}}
    asked = [json.loads(settings) for settings, _ in keys(params, {"stages": {"experiment": {"foreach": items}}})]
    assert {(one["L2"], one["use_batchnorm"]) for one in asked} >= {(0.3, False), (params.l2, True)}


def not_json(constant: str):
    raise AssertionError(f"{constant} is not JSON")


def drawn(path: Path) -> list[str]:
    """The texts of a figure, and what it says to who cannot see it."""
    svg = path.read_text(encoding="utf-8")
    found = re.findall(r"<(text|desc)\b[^>]*>(.*?)</\1>", svg, re.DOTALL) + re.findall(r'()aria-label="(.*?)"', svg)
    return [html.unescape(re.sub(r"<[^>]*>", "", text)) for _, text in found]


# Two replicas of four diverge in experiment 1, all in 2 and 3; no cell of the grid is the study's.
MIXED = {"learning_rate": 1e5, "replicas": 4, "grid": {"l2": [0, "1e-5"], "batch_size": [32.0, 64]}}
FEW = settings.get_current_profile_name() != "thorough"


def assert_right(params, folder: Path):
    """A verdict on every claim, and a report that shows this network, this grid and what diverged."""
    study = parameters.read_yaml(PUBLISHED)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=not_json)
    assert summary["for"] + summary["against"] + summary["open"] == len(study["claims"])
    table = pd.read_csv(folder / "verdicts" / "claims.csv")
    assert list(table["claim"]) == [claim["id"] for claim in study["claims"]]

    replicas = {path.parent.name: pd.read_csv(path) for path in folder.glob("runs/*/replicas.csv")}
    page = (folder / "report.html").read_text(encoding="utf-8")
    packed = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert len([json.loads(data, parse_constant=not_json) for data in packed]) == 4
    page = html.unescape(re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)).replace("\u00a0", " ")
    texts = {name: drawn(folder / f"figures/{name}.svg") for name in CATALOGUE}
    for text in (page, (folder / "report.md").read_text(encoding="utf-8"), *map("\n".join, texts.values())):
        assert not re.findall(r".*\b(?:nan|NaN|inf|None|undefined)\b.*", text)

    dims = params.network.layers_dims
    for layer, (inputs, units) in enumerate(pairwise(dims), start=1):
        assert f"W{layer} ({units} × {inputs})" in texts["weight-distributions"]
    assert "-".join(map(str, dims)) in page
    assert f"exact {100 * params.evidence.confidence:g} % intervals" in page
    for cell in configurations.cells(params).values():
        assert f"batch {cell.batch_size}, {cell.epochs} epochs, λ {cell.L2:g}" in texts["grid"]
    lost = replicas["experiment-1"]["test_accuracy"].isna().sum()
    assert not lost or re.search(rf"experiment 1 plain \([^)]*{lost} diverged of {params.replicas}\)", page)


@settings(suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit] if FEW else settings.default.phases)
@example(changes=MIXED)
@given(changes=CHANGES)
def test_whatever_is_let_in_comes_through_to_a_report(changes, raw):
    with pipeline(changes, raw) as (params, folder):
        assert_right(params, folder)
