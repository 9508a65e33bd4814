"""The report's lab in a real browser: its steps against nnlib's, its controls, what it says when numbers run away."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sections import assert_fits_and_can_be_read, in_view, show, touch, write_page
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from nnlib import compute_cost, initialize_parameters, l_model_backward, l_model_forward, update_parameters
from nnlib.core.model import INITIALIZATIONS
from stages.reporting.labs.digits import digits_data
from stages.reporting.labs.explosion import explosion_data

THE_STUDYS = [784, 20, 7, 5, 10]
NETWORKS = {"the study's": THE_STUDYS, "no hidden layer": [784, 10], "one": [784, 6, 10], "eight": [784, *[9] * 8, 10]}


def settings(layers_dims, batch_size=32):
    network = SimpleNamespace(layers_dims=layers_dims, initialization="he_fan_out")
    return SimpleNamespace(network=network, learning_rate=0.009, batch_size=batch_size, l2=0.01)


def digits(seed, examples):
    """Strokes that differ by class, a third of the pixels inked: X (784, m) and one-hot Y (10, m)."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (examples,), generator=random)
    ink = torch.rand(784, examples, generator=random) * (torch.rand(784, examples, generator=random) < 0.2)
    for k, label in enumerate(labels.tolist()):
        ink[label * 70 : label * 70 + 70, k] = 1
    return ink, torch.nn.functional.one_hot(labels, 10).T.to(torch.float32)


TRAIN, TEST = digits(0, 400), digits(1, 100)
GREYS = (TRAIN[0] * 15).round().double() / 15  # the pixels as they are packed


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    digits = digits_data(TRAIN, TEST)
    records = {name: explosion_data(settings(dims), digits["train"]) for name, dims in NETWORKS.items()}
    return {
        name: write_page(folder / f"{i}.html", "digits.html.j2", "explosion.html.j2", digits=digits, explosion=record)
        for i, (name, record) in enumerate(records.items())
    }


@pytest.fixture
def opened(driver, addresses):
    """Opens the lab of a network, ready to start; afterwards nothing may stand in the console."""

    def opened(name="the study's"):
        driver.get(addresses[name])
        until(driver, lambda: number(driver, "step") == "0")
        return driver

    yield opened
    assert driver.get_log("browser") == []


@pytest.fixture
def page(opened):
    return opened()


def find(page, selector):
    return page.find_element(By.CSS_SELECTOR, f"#explosion {selector}")


def find_all(page, selector):
    return page.find_elements(By.CSS_SELECTOR, f"#explosion {selector}")


def until(page, true):
    WebDriverWait(page, 60, poll_frequency=0.05).until(lambda _: true())


def number(page, name):
    terms = "document.querySelectorAll('#explosion .numbers dt')"
    shown = page.execute_script(f"return [...{terms}].map((dt) => [dt.innerText, dt.nextElementSibling.innerText])")
    return dict(shown)[name]


def steps(page):
    return int(number(page, "step").replace(",", ""))


def status(page):
    return find(page, "[role=status]").text


def type_into(page, name, text):
    find(page, f"[name={name}]").send_keys(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE + text + Keys.TAB)


def click(page, selector):
    in_view(page, find(page, selector)).click()


def train(page, at_least=300):
    click(page, ".start")
    until(page, lambda: steps(page) >= at_least)
    click(page, ".start")
    until(page, lambda: "Paused" in status(page))


def slide(page, key, times=1):
    find(page, "[name=scale]").send_keys(key * times)
    until(page, lambda: "probabilities" in find(page, ".scaled").text)


def shares(page):
    """The cosines as shown, hidden layer by hidden layer, a list for each rule that is shown."""
    rows = [row for row in find_all(page, ".share") if row.is_displayed()]
    found = {}
    for row in rows:
        found.setdefault(row.find_element(By.TAG_NAME, "span").text, []).append(row.find_element(By.TAG_NAME, "b").text)
    return found


# The code of the page's worker, in the main thread, with the page's digits unpacked.
IN_THE_PAGE = """
const done = arguments[arguments.length - 1];
const source = ["network", "worker"].map((name) => document.getElementById(`explosion-${name}`).textContent);
const worker = new Function(source.join("\\n") + "; return { unpack, part, trainStep, emptyGradients, l2Cost }")();
window.onmessage = null;
const digits = worker.unpack(JSON.parse(document.getElementById("digits-data").textContent));
"""
# Weights, batches and settings from nnlib; weights and costs after so many steps.
FOLLOW = (
    IN_THE_PAGE
    + """
const [parameters, batches, settings] = arguments;
const layers = parameters.map(({ W, b }) => ({ W: W.map((row) => Float64Array.from(row)), b: Float64Array.from(b) }));
const grads = worker.emptyGradients(layers);
digits.then((digits) => {
  const costs = batches.map((batch) => {
    const { X, labels } = worker.part(digits, batch), l2 = worker.l2Cost(layers, settings.L2, batch.length);
    return worker.trainStep(X, labels, layers, grads, settings) + l2;
  });
  done([layers.map(({ W, b }) => ({ W: W.flatMap((row) => [...row]), b: [...b] })), costs]);
});"""
)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("batchnorm", "rule"),
    [(False, "exact"), (True, "straight_through"), (True, "exact")],
    ids=["off", "left-out", "true"],
)
def test_steps_agree_with_nnlib(opened, network, batchnorm, rule):
    """Fifty steps with L2 from the same weights, the last batch a small one."""
    page, L2, rate = opened(network), 0.5, 0.05
    X, Y = GREYS, TRAIN[1].double()
    parameters = initialize_parameters(NETWORKS[network], seed=3, dtype=torch.float64)
    layers = range(1, len(NETWORKS[network]))
    given = [
        {"W": parameters[f"W{layer}"].tolist(), "b": parameters[f"b{layer}"].flatten().tolist()} for layer in layers
    ]
    orders = [torch.randperm(400, generator=torch.Generator().manual_seed(epoch)).split(9) for epoch in range(2)]
    batches = [batch for order in orders for batch in order][-50:]
    expected = []
    for batch in batches:
        AL, caches = l_model_forward(X[:, batch], parameters, batchnorm)
        expected.append(compute_cost(AL, Y[:, batch], parameters, L2).item())
        grads = l_model_backward(AL, Y[:, batch], caches, L2, batchnorm_rule=rule)
        parameters = update_parameters(parameters, grads, rate)
    choice = {"useBatchnorm": batchnorm, "batchnormRule": rule, "L2": L2, "learningRate": rate}
    trained, costs = page.execute_async_script(FOLLOW, given, [batch.tolist() for batch in batches], choice)
    assert len(batches[-1]) == 4
    np.testing.assert_allclose(costs, expected, rtol=1e-5)
    for layer, values in zip(layers, trained, strict=True):
        for name in "Wb":
            theirs = parameters[f"{name}{layer}"].flatten().numpy()
            np.testing.assert_allclose(values[name], theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("rule", INITIALIZATIONS)
def test_first_weights_have_the_rules_deviation_and_the_seed_decides_them(page, rule):
    drawn, again, other = (
        np.array(
            page.execute_script(
                """const source = document.getElementById("explosion-network").textContent;
                const [first] = new Function("seed", "rule", source +
                  "; return initializeParameters([784, 50, 10], rule, randomNumbers(seed))")(...arguments);
                return first.W.flatMap((row) => [...row]);""",
                seed,
                rule,
            )
        )
        for seed in (0, 0, 1)
    )
    assert np.array_equal(drawn, again)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03
    assert drawn.mean() == pytest.approx(0, abs=0.03 * drawn.std())
    assert drawn.std() == pytest.approx(INITIALIZATIONS[rule](784, 50), rel=0.02)


def test_the_page_has_the_digits_in_sixteen_greys(page):
    unpacked = page.execute_async_script(
        IN_THE_PAGE
        + """
        digits.then(({ X, labels }) => done([X.map(({ features, values, start, end }) =>
          [features, values].map((all) => Array.from(all.subarray(start, end)))), Array.from(labels)]));"""
    )
    X, Y = (torch.cat([train, test], 1) for train, test in zip(TRAIN, TEST, strict=True))
    shown = np.zeros(X.shape)
    for k, (features, values) in enumerate(unpacked[0]):
        shown[features, k] = values
    np.testing.assert_allclose(shown, (X * 15).round() / 15, atol=1e-12)
    assert unpacked[1] == Y.argmax(0).tolist()


def test_left_out_derivative_lies_along_the_weights_and_true_one_does_not(page):
    train(page)
    found = shares(page)
    assert found["true"] == ["0.000"] * 3
    assert any(abs(float(share.replace("−", "-"))) > 0.05 for share in found["left out"])
    click(page, "[name=useBatchnorm]")
    until(page, lambda: list(shares(page)) == ["no norm"])


def test_the_same_seed_gives_the_same_curves_and_another_seed_others(page):
    curves = []
    train(page)
    for seed in ("5", "6", "5"):
        type_into(page, "seed", seed)
        until(page, lambda: steps(page) == 0)
        train(page, at_least=600)
        points = page.execute_script("return explosion.points.filter(({ step }) => step % 200 === 0).slice(0, 4)")
        curves.append(points)
    assert [point["step"] for point in curves[0]] == [0, 200, 400, 600]
    assert curves[0] == curves[2] != curves[1]


def test_scaling_the_hidden_layers_changes_no_probability_with_batch_norm_and_does_without(page):
    train(page)
    before = [number(page, name) for name in ("accuracy", "cross-entropy")]
    squares = number(page, "Σ W²")
    slide(page, Keys.ARROW_RIGHT, 10)
    until(page, lambda: find(page, "output").text == "× 3.162" and number(page, "Σ W²") != squares)
    assert [number(page, name) for name in ("accuracy", "cross-entropy")] == before
    change = re.search(r"more than (\S+ × 10⁻\S+|\S+) from", find(page, ".scaled").text)[1]
    assert "10⁻" in change
    slide(page, Keys.ARROW_LEFT, 10)
    until(page, lambda: find(page, "output").text == "× 1" and number(page, "Σ W²") == squares)


def test_scaling_the_hidden_layers_changes_probabilities_without_batch_norm(page):
    click(page, "[name=useBatchnorm]")
    train(page)
    slide(page, Keys.ARROW_RIGHT, 10)
    until(page, lambda: find(page, "output").text == "× 3.162")
    assert float(re.search(r"more than (\S+) from", find(page, ".scaled").text)[1]) > 0.01


def test_weights_that_fade_to_0_lie_at_the_foot_of_the_log_scale(page):
    click(page, "[name=useBatchnorm]")
    type_into(page, "learningRate", "1")
    type_into(page, "L2", str(json.loads(find(page, "#explosion-data").get_attribute("textContent"))["batch_size"]))
    click(page, ".start")
    until(page, lambda: number(page, "Σ W²") == "0")
    click(page, ".start")
    assert not re.search(r"NaN|Infinity", find(page, ".curves").get_attribute("outerHTML"))


def test_a_change_while_it_rests_is_measured_at_once(page):
    train(page)
    number_of = "return [explosion.points.length, document.querySelectorAll('#explosion .change').length]"
    points, accuracy, change = page.execute_script(number_of)[0], number(page, "accuracy"), find(page, ".scaled").text
    slide(page, Keys.ARROW_RIGHT, 10)
    scaled = find(page, ".scaled").text
    assert scaled != change
    click(page, "[name=useBatchnorm]")
    until(page, lambda: number(page, "accuracy") != accuracy and find(page, ".scaled").text != scaled)
    # No step was made, so no point was added: the last one is what the network is now.
    assert page.execute_script(number_of)[0] == points
    assert page.execute_script(number_of)[1] > 0
    click(page, ".reset")
    until(page, lambda: steps(page) == 0)
    assert number(page, "steps a second") == "–"
    cost = number(page, "cost, with L2 term")
    type_into(page, "L2", "100")
    until(page, lambda: number(page, "cost, with L2 term") != cost)


@pytest.mark.parametrize("network", NETWORKS)
def test_numbers_that_run_away_are_said_to_diverge_and_are_not_shown(opened, network):
    page = opened(network)
    if network != "no hidden layer":
        click(page, "[name=useBatchnorm]")
    type_into(page, "learningRate", "1e200")
    click(page, ".start")
    until(page, lambda: "Diverged at step " in status(page))
    text = find(page, "").text + page.execute_script("return document.querySelector('#explosion .lab').outerHTML")
    assert not re.search(r"NaN|Infinity|undefined|null", text)
    assert not find(page, ".start").is_enabled()
    click(page, ".reset")
    until(page, lambda: find(page, ".start").is_enabled())
    assert number(page, "step") == "0"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("learningRate", "-1", "learning rate: expected a number of at least 0, got -1"),
        ("L2", "", "λ: expected a number of at least 0, got nothing that is a number"),
        ("seed", "1.5", "seed: expected a whole number from 0 to 4,294,967,295, got 1.5"),
    ],
)
def test_a_bad_setting_is_refused_and_the_last_one_kept_while_it_trains(page, name, text, said):
    kept = find(page, f"[name={name}]").get_attribute("value")
    click(page, ".start")
    type_into(page, name, text)
    before = steps(page)
    until(page, lambda: steps(page) > before)
    assert status(page) == f"{said}. It trains on."
    assert find(page, f"[name={name}]").get_attribute("value") == kept
    type_into(page, "L2", "0.02")
    assert status(page) == "Training."


def test_nothing_moves_before_start(page):
    html = "return document.querySelector('#explosion .lab').outerHTML"
    before = page.execute_script(html)
    page.execute_async_script("setTimeout(arguments[0], 400)")
    assert page.execute_script(html) == before
    assert "Nothing has been trained yet" in status(page)


def test_keys_alone_reach_all_controls_and_start_and_pause(page):
    page.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(8):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.append(page.switch_to.active_element.accessible_name)
    assert len(set(reached)) == 8
    assert all(reached)
    find(page, ".start").send_keys(Keys.SPACE)
    until(page, lambda: steps(page) > 0)
    find(page, ".start").send_keys(Keys.ENTER)
    until(page, lambda: "Paused" in status(page))


def test_touch_starts_and_pauses(page):
    touch(page, find(page, "[value=exact]"))
    assert find(page, "[value=exact]").is_selected()
    touch(page, find(page, ".start"))
    until(page, lambda: steps(page) > 0)
    touch(page, find(page, ".start"))
    until(page, lambda: "Paused" in status(page))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.usefixtures("as_before")
def test_fits_and_can_be_read(page, width, scheme):
    show(page, width, scheme)
    train(page)
    assert_fits_and_can_be_read(page, "#explosion", width)


def test_every_input_has_a_label(page):
    assert [box.accessible_name for box in find_all(page, "input") if not box.accessible_name] == []
    assert len(find_all(page, "input")) == 7


@pytest.mark.usefixtures("as_before")
def test_without_javascript_a_sentence_stands_for_the_controls(driver, addresses):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(addresses["the study's"])
        assert "It would train the network" in find(driver, "noscript").text
        assert not find(driver, ".lab").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_browser_that_cannot_unpack_the_digits_says_so(driver, addresses):
    source = {"source": "delete window.DecompressionStream"}
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        driver.get(addresses["the study's"])
        assert "no DecompressionStream" in status(driver)
        assert not find(driver, ".start").is_enabled()
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_record_is_plain_and_the_batch_no_larger_than_the_digits():
    digits = digits_data(TRAIN, TEST, examples=50, held_out=20)
    record = explosion_data(settings([784, 10], batch_size=1000), digits["train"])
    assert (digits["train"], digits["held_out"], len(digits["labels"]), record["batch_size"]) == (50, 20, 70, 50)
    json.dumps([digits, record], allow_nan=False)
