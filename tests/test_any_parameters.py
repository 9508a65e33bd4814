"""Whatever the door of the parameters lets in comes through every stage to verdicts and a report.

pytest tests/test_any_parameters.py                                   a few sets of parameters
pytest tests/test_any_parameters.py --hypothesis-profile=thorough     500
"""

import contextlib
import html
import json
import re
import shutil
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pipeline import REPOSITORY, TINY

from nnlib.data.catalogue import MNIST
from nnlib.data.raw import load_raw
from nnlib.evidence.claims import Word
from stages import chance, check, configurations, parameters, preprocess, report, reports, train, verdicts, weight_diff
from stages.reporting.catalogue import CATALOGUE
from stages.reporting.colours import COLOURS
from stages.studies import load_study
from stages.yaml_files import read_yaml

RAW = read_yaml(REPOSITORY / "params.yaml")
# As wide in front as the study's network: for another width Numba would compile the engine anew.
EIGHT_HIDDEN = [784, 20, 8, 8, 7, 7, 6, 6, 5, 10]
OTHER = "twin-32.yaml"


def merged(one: dict, other: dict) -> dict:
    """One nested mapping with the values of the other."""
    result = deepcopy(one)
    for name, value in other.items():
        result[name] = merged(result[name], value) if isinstance(value, dict) else value
    return result


SMALL = merged(merged(RAW, TINY | {"device": "cpu"}), {"preprocess": {"examples": 400}})


def some(*values):
    return st.sampled_from(values)


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(1, 4),
        "seed": some(0, 1, 2**62 - 100),
        "epochs": st.integers(1, 3),
        "batch_size": some(1, 7, 32, 64),  # no training set is smaller: 300 examples, half of them held out
        "learning_rate": some(1e-30, 0.009, 0.5, 1000, 1e5, 1e10, 1e38),
        "optimizer": some("gradient_descent", "momentum"),
        "l2": some(0, 1e-5, 0.01, 1, 1e38),
        "shuffle": some("every_epoch", "once", "never"),
        "network": st.fixed_dictionaries(
            {},
            optional={
                "layers_dims": some([784, 30, 10], [784, 1, 10], [784, 16, 16, 8, 8, 10], EIGHT_HIDDEN),
                "initialization": some("he_fan_out", "he_fan_in", "xavier", "standard_normal", "inverse_fan_in"),
            },
        ),
        "normalization": st.fixed_dictionaries({}, optional={"epsilon": some(1e-8, 0.1)}),
        "stopping": st.fixed_dictionaries(
            {},
            optional={
                "quantity": some("validation_cost", "validation_accuracy"),
                "rule": some("change", "improvement"),
                "eval_every": some(1, 5, 100, 10**6),
                "patience": some(1, 3, 100),
                "threshold": some(0, 1e-9, 0.1, 1e9),
                "returns": some("best", "last"),
            },
        ),
        "preprocess": st.fixed_dictionaries(
            {},
            optional={
                "pool": some("train", "all"),
                "examples": some(300, 401),
                "test": some(0.01, 0.2, 0.25),
                "validation": some(0.01, 0.2, 0.25),
                "seed": some(0, 2**32 - 1),
            },
        ),
        "grid": st.fixed_dictionaries(
            {},
            optional={
                "batch_size": some([32], [32.0, 64], [7, 64, 32, 1]),
                "epochs": some([1], [2, 1], [50, 1]),
                "l2": some([0], [0, 0.00001], [0.04, 0.01], [0.01, 0.010001], [1e38]),
            },
        ),
        "evidence": st.fixed_dictionaries(
            {},
            optional={
                "confidence": some(0.01, 0.5, 0.9, 0.999),
                "resamples": some(1, 100),
                "early_steps": some(1, 10, 10**6),
                "collapsed_below": some(0.01, 0.5, 0.99),
                "margins": some({"accuracy": 0, "cost": 0}, {"accuracy": 0.5, "cost": 1}),
            },
        ),
    },
)


@pytest.fixture(scope="module")
def raw(mnist):
    return load_raw(mnist, MNIST)


@contextlib.contextmanager
def pipeline(changes: dict, raw):
    """A folder in which every stage has run, in this process, as dvc.yaml has them, with these parameters."""
    with TemporaryDirectory() as name, contextlib.chdir(name), pytest.MonkeyPatch.context() as patch:
        for stage in (preprocess, chance, reports):
            patch.setattr(stage, "load_raw", lambda *_: raw)
        patch.delenv("REPLICA_STORE", raising=False)
        Path("data/studies").mkdir(parents=True)
        for file in ("study.yaml", OTHER):
            shutil.copy(REPOSITORY / "data/studies" / file, "data/studies")
        params = parameters.check(merged(SMALL, changes))
        check.main(params)
        preprocess.main(params)
        for key in ("grid", *load_study().runs, "explanations"):
            train.main(params, key)
        for stage in (chance, reports, weight_diff, verdicts, report):
            stage.main(params)
        yield params, Path(name) / "reports"


def not_json(constant: str):
    raise AssertionError(f"{constant} is not JSON")


def drawn(path: Path) -> list[str]:
    """The texts of a figure, and what it says to who cannot see it."""
    svg = path.read_text(encoding="utf-8")
    found = re.findall(r"<(text|desc)\b[^>]*>(.*?)</\1>", svg, re.DOTALL) + re.findall(r'()aria-label="(.*?)"', svg)
    return [html.unescape(re.sub(r"<[^>]*>", "", text)) for _, text in found]


def assert_right(params, folder: Path):
    """A verdict on every claim, and a report that shows this network, this grid and what diverged."""
    study = load_study()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=not_json)
    asked = sum(claim.asked_by == "study" for claim in study.claims)
    assert sum(summary[word] for word in Word) == asked
    table = pd.read_csv(folder / "verdicts" / "study" / "claims.csv")
    assert list(table["claim"]) == [claim.id for claim in study.claims]

    page = (folder / "report.html").read_text(encoding="utf-8")
    packed = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert len([json.loads(data, parse_constant=not_json) for data in packed]) == 4
    page = html.unescape(re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)).replace("\u00a0", " ")
    texts = {name: drawn(folder / f"figures/{name}.svg") for name in CATALOGUE}
    for text in (page, (folder / "report.md").read_text(encoding="utf-8"), *map("\n".join, texts.values())):
        assert not re.findall(r".*\b(?:nan|NaN|inf|None|undefined)\b.*", text)
    used = set(
        re.findall(r"(?:fill|stroke): (#\w+)", "".join(path.read_text() for path in folder.glob("figures/*.svg")))
    )
    allowed = {shade for colour in COLOURS.values() for shade in colour} | {"#8a8f96", "none"}
    assert used <= allowed
    assert "-".join(map(str, params.network.layers_dims)) in page
    for cell in configurations.cells(params).values():
        assert f"batch {cell.batch_size}, {cell.epochs} epochs, λ {cell.L2:g}" in texts["grid"]


# Two replicas of four diverge in experiment 1, all in 2 and 3; no cell of the grid is the study's.
MIXED = {"learning_rate": 1e5, "replicas": 4, "grid": {"l2": [0, 0.00001], "batch_size": [32.0, 64]}}
ONE = {"replicas": 1, "network": {"layers_dims": [784, 10]}, "preprocess": {"pool": "all"}}
DEEP = {
    "seed": 1000,
    "optimizer": "momentum",
    "network": {"layers_dims": EIGHT_HIDDEN},
    "stopping": {"returns": "best"},
}
FEW = settings.get_current_profile_name() != "thorough"


@settings(suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit] if FEW else settings.default.phases)
@example(changes=MIXED)
@example(changes=ONE)
@example(changes=DEEP)
@given(changes=CHANGES)
def test_whatever_is_let_in_comes_through_to_a_report(changes, raw):
    with pipeline(changes, raw) as (params, folder):
        assert_right(params, folder)
