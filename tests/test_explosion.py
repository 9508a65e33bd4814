"""The report's explosion lab: its steps against nnlib's, and in a real browser its race, its marks, what it says."""

import json
import re
from itertools import product

import numpy as np
import pytest
import torch
from lab_page import LabPage, write_page
from selenium.webdriver import ActionChains, Keys

from nnlib import compute_cost, initialize_parameters, l_model_backward, l_model_forward, update_parameters
from nnlib.core.model import BATCHNORMS
from nnlib.core.settings import INITIALIZATIONS, Settings
from stages.reporting.labs.digits import digits_data
from stages.reporting.labs.explosion import Mark, Network, explosion_data

THE_STUDYS = (784, 20, 7, 5, 10)
NETWORKS = {
    "straight_through": Network("left out", "var(--red)"),
    "exact": Network("true", "var(--blue)"),
    "none": Network("no batch norm", "var(--green)"),
}
MARKS = {"sum_squared_weights": Mark("the study", 1.687e9), "cost": Mark("the study", 263576.84)}


def made_up(seed, examples):
    """Strokes that differ by class: X (784, m) and one-hot Y (10, m)."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (examples,), generator=random)
    X = torch.rand(784, examples, generator=random) * (torch.rand(784, examples, generator=random) < 0.2)
    for k, label in enumerate(labels.tolist()):
        X[label * 70 : label * 70 + 70, k] = 1
    return X, torch.nn.functional.one_hot(labels, 10).T.to(torch.float32)


TRAIN, TEST = made_up(0, 400), made_up(1, 100)
GREYS = (TRAIN[0] * 15).round().double() / 15  # the pixels as they are packed


def record(layers_dims=THE_STUDYS, last_step=120_000, batch_size=32, train=400):
    settings = Settings(layers_dims=layers_dims, initialization="he_fan_out", batch_size=batch_size, L2=0.01)
    return explosion_data(settings, last_step, train, NETWORKS, MARKS)


PAGES = {"the study's": {}, "no hidden layer": {"layers_dims": (784, 10)}, "short": {"last_step": 500}}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explosion")
    return {
        name: write_page(folder / f"{i}.html", "explosion", digits=digits_data(TRAIN, TEST), explosion=record(**given))
        for i, (name, given) in enumerate(PAGES.items())
    }


class Lab(LabPage):
    @property
    def steps(self):
        return int(self.text(".progress").split()[1].replace(",", ""))

    @property
    def points(self):
        return self.script("return explosion.points")

    def ready(self):
        self.until(lambda: self.find(".reset").is_enabled())
        return self

    def train(self, at_least=400):
        self.click(".start")
        self.until(lambda: self.steps >= at_least)
        self.click(".start")
        self.until(lambda: "Paused at" in self.status)

    def fill(self, name, text):
        self.script("document.querySelector('#explosion details').open = true")
        self.find(f"[name={name}]").send_keys(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE + text + Keys.TAB)

    def shares(self):
        rows = [row.text.split("\n") for row in self.find_all(".share")]
        return [(" ".join(name), value) for *name, value in rows]


@pytest.fixture
def opened(driver, addresses):
    """Opens the lab, ready to start; afterwards nothing may stand in the console."""
    yield lambda name="the study's", state="": Lab(driver, addresses[name] + state, "explosion").ready()
    assert driver.get_log("browser") == []


# The code of the page's worker, in the main thread: weights and costs after so many steps.
SOURCE = """const source = ["random", "explosion-network"]
  .map((id) => document.getElementById(id).textContent).join("\\n");"""
FOLLOW = f"""{SOURCE}
const [parameters, batches, settings, done] = arguments;
const worker = new Function(source + "; return {{ sparseExamples, trainStep, emptyGradients, l2Cost }}")();
const array = (values) => Float64Array.from(values);
const layers = parameters.map(({{ W, b }}) => ({{ W: array(W), b: array(b) }}));
const grads = worker.emptyGradients(layers);
unpackDigits().then(({{ greys, labels, levels }}) => {{
  const X = worker.sparseExamples(greys, labels.length, levels);
  const costs = batches.map((batch) => {{
    const l2 = worker.l2Cost(layers, settings.L2, batch.length);
    return worker.trainStep(batch.map((k) => X[k]), batch.map((k) => labels[k]), layers, grads, settings) + l2;
  }});
  done([layers.map(({{ W, b }}) => ({{ W: [...W], b: [...b] }})), costs]);
}});"""


HIDDEN = product([THE_STUDYS, (784, *[9] * 8, 10)], BATCHNORMS, ["relu", "sigmoid"])


@pytest.mark.parametrize(("layers_dims", "batchnorm", "activation"), [((784, 10), "none", "relu"), *HIDDEN], ids=str)
def test_steps_agree_with_nnlib(driver, addresses, layers_dims, batchnorm, activation):
    """Fifty steps with L2 from the same weights, the last batch a small one."""
    if driver.current_url != addresses["the study's"]:
        driver.get(addresses["the study's"])
    L2, rate = 0.5, 0.05
    X, Y = GREYS, TRAIN[1].double()
    parameters = initialize_parameters(layers_dims, initialization="he_fan_out", seed=3, dtype=torch.float64)
    layers = range(1, len(layers_dims))
    given = [{name: parameters[f"{name}{layer}"].mT.flatten().tolist() for name in "Wb"} for layer in layers]
    orders = [torch.randperm(400, generator=torch.Generator().manual_seed(epoch)).split(9) for epoch in range(2)]
    batches = [batch for order in orders for batch in order][-50:]
    expected = []
    for batch in batches:
        AL, caches = l_model_forward(X[:, batch], parameters, batchnorm, activation=activation)
        expected.append(compute_cost(AL, Y[:, batch], parameters, L2).item())
        grads = l_model_backward(AL, Y[:, batch], caches, L2, batchnorm=batchnorm, activation=activation)
        parameters = update_parameters(parameters, grads, rate)
    choice = {"activation": activation, "batchnorm": batchnorm, "L2": L2, "learningRate": rate}
    trained, costs = driver.execute_async_script(FOLLOW, given, [batch.tolist() for batch in batches], choice)
    assert len(batches[-1]) == 4
    np.testing.assert_allclose(costs, expected, rtol=1e-5)
    for layer, values in zip(layers, trained, strict=True):
        for name in "Wb":
            theirs = parameters[f"{name}{layer}"].mT.flatten().numpy()
            np.testing.assert_allclose(values[name], theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_initial_weights_have_each_initializations_deviation_and_the_seed_decides_them(opened):
    page = opened()
    script = f"""{SOURCE}
        const {{ initializeParameters, randomNumbers }} =
          new Function(source + "; return {{ initializeParameters, randomNumbers }}")();
        const [first] = initializeParameters([784, 50, 10], arguments[0], randomNumbers(arguments[1]));
        return [...first.W];"""
    for initialization, deviation in INITIALIZATIONS.items():
        drawn = np.array(page.script(script, initialization, 0))
        assert drawn.std() == pytest.approx(deviation(784, 50), rel=0.02)
        assert drawn.mean() == pytest.approx(0, abs=0.03 * drawn.std())
    other = np.array(page.script(script, initialization, 1))
    assert np.array_equal(drawn, page.script(script, initialization, 0))
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03


def test_the_race_starts_from_the_same_weights_and_only_the_left_out_derivative_lengthens_them(opened):
    page = opened(state="#explosion?lr=0.1")
    first = page.points
    assert set(first) == {"straight_through", "exact"}
    assert first["straight_through"] == first["exact"]
    page.train(1000)
    shares = page.shares()
    assert [value for name, value in shares if name == "true"] == ["0.000"] * 3
    assert any(abs(float(value.replace("−", "-"))) > 0.05 for name, value in shares if name == "left out")
    left_out, true = (page.points[key][-1] for key in ("straight_through", "exact"))
    assert left_out["step"] == true["step"]
    assert left_out["sumSquaredWeights"] > 2 * true["sumSquaredWeights"]


def test_the_cost_is_that_of_the_mini_batches_in_the_studys_units(opened):
    """The L2 term is divided by the batch size, as where a study prints 263,577."""
    page = opened(state="#explosion?L2=100&lr=0.0001")
    page.train()
    for point in page.points["exact"][1:]:
        cross_entropy = point["cost"] - 100 / (2 * 32) * point["sumSquaredWeights"]
        assert 1.5 < cross_entropy < 3.5
    labels = [svg.get_attribute("aria-label") for svg in page.find_all(".plot svg")]
    assert "the study: 1.69 × 10⁹" in labels[0].replace("\u00a0", " ")
    assert "the study: 263,577" in labels[2]
    assert len(page.find_all(".mark")) == 2


def test_the_same_seed_gives_the_same_curves_and_another_seed_others(opened):
    curves = []
    for seed in (5, 6, 5):
        page = opened(state=f"#explosion?seed={seed}")
        page.train(400)
        curves.append([points[:3] for points in page.points.values()])
    assert [point["step"] for point in curves[0][0]] == [0, 200, 400]
    assert curves[0] == curves[2]
    assert curves[0] != curves[1]


def test_without_batch_norm_there_is_one_network(opened):
    page = opened(state="#explosion?rule=none")
    page.train()
    assert [name for name, _ in page.shares()] == ["no batch norm"] * 3
    assert [len(plot.find_elements("css selector", ".curve")) for plot in page.find_all(".plot")] == [1, 1, 1]


@pytest.mark.parametrize(("rule", "changes"), [("both", False), ("none", True)])
def test_the_length_of_the_weights_changes_probabilities_without_batch_norm_alone(opened, rule, changes):
    page = opened(state=f"#explosion?rule={rule}")
    page.train()
    before = [points[-1] for points in page.points.values()]
    page.script("document.querySelector('#explosion details').open = true")
    page.find("[name=scale]").send_keys(Keys.ARROW_RIGHT * 10)
    page.until(lambda: "× 3.162." in page.text(".scaled"))
    page.until(lambda: all(points[-1] != was for points, was in zip(page.points.values(), before, strict=True)))
    assert page.text(".scaled").startswith(f"At step {page.steps:,} you set the norm")
    assert ("Probabilities changed by up to" in page.text(".scaled")) == changes
    for points, was in zip(page.points.values(), before, strict=True):
        assert points[-1]["step"] == was["step"]  # measured again, not trained
        assert points[-1]["sumSquaredWeights"] > 3 * was["sumSquaredWeights"]
        assert (points[-1]["accuracy"] == was["accuracy"]) or changes


def test_it_stops_at_the_last_step(opened):
    page = opened("short")
    page.click(".start")
    page.until(lambda: page.status == "Stopped at step 500, where the study stops.")
    assert {points[-1]["step"] for points in page.points.values()} == {500}
    assert not page.find(".start").is_enabled()
    page.click(".reset")
    page.until(lambda: page.find(".start").is_enabled())
    assert page.steps == 0


def test_it_rests_out_of_sight_and_goes_on(opened):
    page = opened()
    page.script("const far = document.createElement('div'); far.style.height = '5000px'; document.body.append(far)")
    page.click(".start")
    page.until(lambda: page.steps > 0)
    page.script("scrollTo(0, 5500)")
    page.until(lambda: page.status == "Paused, since the lab is out of sight.")
    rested = "return Math.max(...explosion.points.exact.map(({ step }) => step))"
    page.driver.execute_async_script("setTimeout(arguments[0], 600)")  # for the round that had begun
    before = page.script(rested)
    page.driver.execute_async_script("setTimeout(arguments[0], 600)")
    assert page.script(rested) == before
    page.script("scrollTo(0, 0)")
    page.until(lambda: page.script(rested) > before)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("rule=none&lr=3", "“no batch norm” is dead: "),
        ("rule=none&lr=1e200", "“no batch norm” diverged at step "),
        ("lr=1e200", "“true” diverged at step "),
    ],
)
def test_a_network_that_no_longer_learns_is_said_to_be_dead(opened, state, said):
    page = opened(state=f"#explosion?{state}")
    page.click(".start")
    page.until(lambda: said in page.status)
    assert state.startswith("lr") or "Training" not in page.status
    assert not re.search(r"NaN|Infinity|undefined|\bnull\b", page.find(".stage").get_attribute("outerHTML"))
    page.click(".reset")
    page.until(lambda: page.status == "Nothing is trained yet.")


def test_numbers_that_run_away_without_a_hidden_layer(opened):
    page = opened("no hidden layer", "#explosion?lr=1e200")
    assert not page.find(".gradient").is_displayed()
    page.click(".start")
    page.until(lambda: "diverged" in page.status)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lr", "-1", "learning rate: expected a number of at least 0, got -1."),
        ("L2", "", "λ: expected a number of at least 0, got no number."),
        ("seed", "1.5", "seed: expected a whole number from 0 to 4,294,967,295, got 1.5."),
    ],
)
def test_a_bad_setting_is_refused_and_the_last_one_kept(opened, name, text, said):
    page = opened()
    kept = page.find(f"[name={name}]").get_attribute("value")
    page.fill(name, text)
    assert page.status.startswith(said)
    assert page.find(f"[name={name}]").get_attribute("value") == kept
    page.fill("L2", "0.02")
    assert page.status == "Nothing is trained yet."
    assert page.script("return location.hash") == "#explosion?L2=0.02"


@pytest.mark.parametrize("state", ["rule=best&seed=-1&lr=NaN&L2=1e999", "seed=4294967296&lr=", "="])
def test_nonsense_in_the_address_opens_the_default(opened, state):
    page = opened(state=f"#explosion?{state}")
    values = [page.find(f"[name={name}]").get_attribute("value") for name in ("rule", "seed", "lr", "L2")]
    assert values == ["both", "0", "0.009", "0.01"]


def test_keys_alone_reach_all_controls_and_start_and_pause(opened):
    page = opened()
    page.script("document.querySelector('#explosion details').open = true; document.activeElement.blur()")
    reached = []
    for _ in range(10):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.append(page.driver.switch_to.active_element.accessible_name)
    assert len(set(reached)) == 10
    assert all(reached)
    page.find(".start").send_keys(Keys.SPACE)
    page.until(lambda: page.steps > 0)
    page.find(".start").send_keys(Keys.ENTER)
    page.until(lambda: "Paused at" in page.status)


def test_controls_and_plots_are_on_one_screen(opened, as_before):
    page = opened()
    for width, height in (1280, 800), (360, 740):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        top, bottom = page.script(
            "const box = (selector) => document.querySelector(`#explosion ${selector}`).getBoundingClientRect();"
            "return [box('.start').top, box('.plot:last-child').bottom]"
        )
        assert bottom - top < height


BROKEN = {
    "no DecompressionStream": "delete window.DecompressionStream",
    "no Worker": "delete window.Worker",
    "does not start": "window.Worker = class { postMessage() { setTimeout(() => this.onerror({})) } }",
    "boom": """window.Blob = class extends Blob { constructor(parts, { type } = {}) {
      super(type ? [...parts, "; REQUESTS.reset = () => { throw new Error('boom') }"] : parts, { type }) } }""",
}


@pytest.mark.parametrize("missing", BROKEN)
def test_what_is_missing_is_said(driver, addresses, missing):
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": BROKEN[missing]})
    try:
        page = Lab(driver, addresses["the study's"], "explosion")
        page.until(lambda: page.text(".failure"))
        assert page.text(".failure").startswith("This lab cannot run here: ")
        assert missing in page.text(".failure")
        assert not page.find(".stage").is_displayed()
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_record_is_plain_and_the_batch_no_larger_than_the_digits():
    made = record(batch_size=1000, train=50)
    assert (made["batch_size"], made["probe"]) == (50, 50)
    assert [network["key"] for network in made["networks"]] == list(NETWORKS)
    digits = digits_data(TRAIN, TEST, examples=50, held_out=20)
    assert (digits["train"], digits["held_out"], len(digits["labels"])) == (50, 20, 70)
    json.dumps([digits, made], allow_nan=False)
