"""params.yaml at the door: what is let in, and what one reads of what is not."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pipeline import REPOSITORY

from nnlib import Settings
from nnlib.errors import InputError
from stages import parameters
from stages.configurations import evaluated_rarely, explanations
from stages.studies import load_study
from stages.yaml_files import parse_yaml, read_yaml

RAW = read_yaml(REPOSITORY / "params.yaml")


def changed(path: str, value: object) -> dict:
    *sections, name = path.split(".")
    raw = deepcopy(RAW)
    section = raw
    for key in sections:
        section = section[key]
    section[name] = value
    return raw


def test_the_committed_parameters_are_let_in():
    assert parameters.check(RAW).learning_rate == 0.009


@pytest.mark.parametrize("text", ["1e-4", "0.0001", "1.0e-4", ".0001"])
def test_a_number_is_the_same_however_it_is_written(text: str):
    for path in ("learning_rate", "l2"):
        raw = RAW | {path: parse_yaml(text)}
        assert getattr(parameters.check(raw), path) == 0.0001


def test_one_reading_of_a_number_dvcs():
    assert parameters.check(RAW | {"epochs": parse_yaml("010")}).epochs == 10
    grid = parameters.check(changed("grid.batch_size", [32.0, 64])).grid
    assert [str(size) for size in grid.batch_size] == ["32", "64"]
    assert parameters.check(changed("grid.l2", [0, "1e-4"])).grid.l2 == [0, 0.0001]
    assert parameters.check(changed("grid.epochs", [1_000_000, 1_000_001])).grid.epochs[1] == 1_000_001


@pytest.mark.parametrize("text", ["!!bool 3", '!!int ""', "a: [", "%YAML 1.3\n---\na: 1", "[" * 5000])
def test_what_is_not_yaml_is_one_line(text: str):
    with pytest.raises(InputError, match=r"^not YAML: .+$"):
        parse_yaml(text)


def test_what_is_not_utf_8_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_bytes("l2: é".encode("latin-1"))
    with pytest.raises(InputError, match=r"params\.yaml: not YAML: expected UTF-8"):
        parameters.load(tmp_path / "params.yaml")


def test_threads_are_a_number_or_all():
    assert parameters.check(RAW | {"threads": "auto"}).threads is None
    assert parameters.check(RAW | {"threads": 3}).threads == 3


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("l2", -1, "l2: expected a number of at least 0, got -1"),
        ("l2", float("inf"), "l2: expected a finite number, got inf"),
        ("l2", True, "l2: expected a number, got True"),
        ("l2", 1e-60, "l2: expected 0, or a number of at least 1e-37, got 1e-60"),
        ("learning_rate", 1e39, "learning_rate: expected "),
        ("learning_rate", 1e-60, "learning_rate: expected "),
        ("stopping.patience", 10**20, f"stopping.patience: expected a number below {2**63}, got 1"),
        ("grid.l2", [0.0, -0.0], "grid.l2: expected values that differ in their first six digits, got"),
        ("l2", "strong", "l2: expected a number, got 'strong'"),
        ("epochs", 0, "epochs: expected a number of at least 1, got 0"),
        ("epochs", 1.5, "epochs: expected a whole number, got 1.5"),
        ("seed", 2**62, f"seed: expected a number below {2**62}, got {2**62}"),
        ("learning_rate", 0, "learning_rate: expected a number of at least 1e-37, got 0"),
        ("replicas", None, "replicas: expected a whole number, got None"),
        ("bacth_size", 32, "bacth_size: no such entry; did you mean 'batch_size'?"),
        ("grid.epoch", [1], "grid.epoch: no such entry; did you mean 'epochs'?"),
        ("grid.batch_size", [], "grid.batch_size: expected 1 or more values, got []"),
        ("grid.l2", [0.1, 0.1], "grid.l2: expected values that differ in their first six digits, got [0.1, 0.1]"),
        ("grid.l2", [0.01, 0.01000000001], "grid.l2: expected values that differ in their first six digits, got"),
        ("grid.batch_size", [32.0, 32], "grid.batch_size: expected values that differ"),
        ("grid.batch_size", 32, "grid.batch_size: expected a list, got 32"),
        ("threads", 0, "threads: expected a number of at least 1, got 0"),
        ("threads", "all", "threads: expected a whole number, got 'all'"),
        ("grid.l2", ["x"], "grid.l2.0: expected a number, got 'x'"),
        ("dataset", "mnits", "dataset: expected one of mnist, fashion-mnist, got 'mnits'"),
        ("dataset", ["mnist"], "dataset: expected one of mnist, fashion-mnist, got ['mnist']"),
        ("preprocess.examples", 60_001, "preprocess.examples: expected 0 (all) to 60000, got 60001"),
        ("preprocess.test", 1, "preprocess.test: expected a number below 1, got 1"),
        ("network.layers_dims", [784, 20], "network.layers_dims: expected 784 pixels first and 10 classes last"),
        ("network.initialization", "he", "network.initialization: expected 'he_fan_in', "),
        ("shuffle", True, "shuffle: expected 'every_epoch', 'once' or 'never', got True"),
        ("reshuffle", True, "reshuffle: no such entry; it is now shuffle: every_epoch, once or never"),
        ("stopping.look_every", 5, "stopping.look_every: no such entry; it is now stopping.eval_every"),
        ("timing", {}, "timing: no such entry; it is now the benchmark"),
        ("explanations.changes", {}, "explanations.changes: expected 1 or more values, got {}"),
        ("explanations.changes.One look", {}, "explanations.changes.One look.[key]: expected "),
        ("stopping", None, "stopping: expected a mapping, got None"),
    ],
)
def test_a_mistake_is_one_line(path: str, value: object, line: str):
    with pytest.raises(ValueError, match="^" + re.escape(line)):
        parameters.check(changed(path, value))


@pytest.mark.parametrize("path", ["epochs", "stopping.patience", "normalization.epsilon", "grid.l2"])
def test_a_missing_parameter_is_named(path):
    *sections, name = path.split(".")
    raw = deepcopy(RAW)
    section = raw
    for key in sections:
        section = section[key]
    del section[name]
    with pytest.raises(ValueError, match=rf"^{path}: expected a value, it is missing$"):
        parameters.check(raw)


def complaint(raw: object) -> str | None:
    """What is said against the parameters; None if they are let in."""
    try:
        parameters.check(raw)
    except ValueError as error:
        return str(error)
    return None


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)
PATHS = [
    *RAW,
    "grid.l2",
    "grid.epochs",
    "network.layers_dims",
    "preprocess.pool",
    "stopping.threshold",
    "other",
    "grid.x",
    "explanations.changes.x",
]


@example(path="network", value={"\n": None})
@given(path=st.sampled_from(PATHS), value=json)
def test_any_mapping_gives_parameters_or_one_line(path: str, value: object):
    said = complaint(changed(path, value))
    assert said is None or (said.startswith(path) and "\n" not in said)


@given(value=json)
def test_any_file_gives_parameters_or_one_line(value: object):
    with pytest.raises(ValueError, match=r"(expected|no such entry)"):
        parameters.check(value)


@pytest.mark.parametrize("text", ["l2: [", "- 1\n- 2", "l2: !!python/object/apply:os.getcwd []", ""])
def test_a_file_that_is_not_such_yaml_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"params\.yaml: (not YAML|the record|seed)"):
        parameters.load(path)


@pytest.mark.parametrize("stage", ["train", "explanations", "chance"])
def test_a_stage_is_stale_by_every_parameter_that_all_its_runs_share(stage: str):
    params, asked = parameters.load(REPOSITORY / "params.yaml"), set()

    class Asked:
        def __getattr__(self, name):
            asked.add(name)
            return getattr(params, name)

    parameters.Parameters.common(Asked())
    body = read_yaml(REPOSITORY / "dvc.yaml")["stages"][stage]
    assert asked <= {name for name in body.get("do", body)["params"] if isinstance(name, str)}


@pytest.mark.parametrize("stage", ["download", "preprocess", "chance", "reports"])
def test_a_stage_that_reads_the_images_is_stale_by_another_data_set(stage: str):
    assert "dataset" in read_yaml(REPOSITORY / "dvc.yaml")["stages"][stage]["params"]


@pytest.mark.parametrize(
    ("stopping", "every"),
    [
        ({}, 1200),
        ({"patience": 3}, 300),
        ({"eval_every": 5000}, 5000),
        ({"returns": "best"}, 100),
        ({"rule": "improvement"}, 100),
        ({"rule": "no_decline"}, 100),
    ],
    ids=str,
)
def test_a_run_of_which_only_the_end_is_asked_for_is_evaluated_rarely_unless_that_could_change_the_end(stopping, every):
    usual = Settings(layers_dims=[784, 10], stopping={"rule": "change", "returns": "last"})
    settings = usual.replace(stopping=usual.stopping.replace(**stopping))
    expected = settings.replace(stopping=settings.stopping.replace(eval_every=every))
    assert evaluated_rarely(settings) == expected


def test_an_experiment_that_an_explanation_does_not_change_is_the_same_run_as_without_it():
    params, study = parameters.load(REPOSITORY / "params.yaml"), load_study(REPOSITORY / "data/studies/study.yaml")
    found = explanations(params, study)
    for run, settings in study.configurations(params.common(), study.experiments).items():
        same = found[f"whole-matrix/{run}"].identity() == settings.identity()
        assert same == (settings.batchnorm == "none")
