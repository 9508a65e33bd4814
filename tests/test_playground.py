"""The report's playground in a real browser: its numbers against nnlib's, its drawing, its page."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jinja2 import Environment, FileSystemLoader
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By

from nnlib import initialize_parameters, l_model_forward, linear_activation_forward
from nnlib.layers import BATCHNORM_EPSILON
from stages.reporting.playground import playground_data

TEMPLATES = Path(__file__).parents[1] / "stages" / "reporting" / "templates"
HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Playground</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>{}</body></html>"""
SEVEN = [(-110, -110), (-40, -110), (-100, -20)]  # from the middle of the pad, in its upper left corner
SIDE = 280
ROW = np.arange(28)[:, None]


def network(seed, scale=1):
    parameters = initialize_parameters([784, 20, 7, 5, 10], seed=seed)
    noise = torch.Generator().manual_seed(seed)
    for name, value in parameters.items():
        if name[0] == "b":
            value += torch.randn(value.shape, generator=noise)
        value *= scale
    parameters["W1"][0] *= 1e-6  # a unit that hardly varies, where batch norm's epsilon matters
    return parameters


NETWORKS = {
    "experiment-1": ("1  plain", network(1), False),
    "experiment-2": ("2  batch norm + L2", network(2, scale=1000), True),
    "experiment-3": ("3  L2", network(3), False),
    "experiment-4": ("4  batch norm", network(4), True),
}


@pytest.fixture(scope="module")
def test_set():
    """Random pictures: X (784, 300) with values of 0 to 255 over 255, and one-hot Y."""
    random = torch.Generator().manual_seed(0)
    greys = torch.randint(-255, 256, (784, 300), generator=random).clamp_min(0)
    digits = torch.randint(0, 10, (300,), generator=random)
    return greys.to(torch.float32) / 255, torch.nn.functional.one_hot(digits, 10).T.to(torch.float32)


def write_page(path, record):
    include = Environment(loader=FileSystemLoader(TEMPLATES)).get_template("playground.html.j2")
    path.write_text(HTML.format(include.render(playground=record)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(test_set, tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page") / "page.html", playground_data(NETWORKS, *test_set))


@pytest.fixture
def page(driver, address):
    """The page, freshly opened; afterwards nothing may stand in the console."""
    driver.get(address)
    yield driver
    assert driver.get_log("browser") == []


def find(page, selector):
    return page.find_element(By.CSS_SELECTOR, f"#playground {selector}")


def find_all(page, selector):
    return page.find_elements(By.CSS_SELECTOR, f"#playground {selector}")


def pixels(page):
    return np.array(page.execute_script("return Array.from(playground.pixels)"))


def picture(page):
    """What the canvas of the 28 × 28 picture shows, 0 to 1."""
    return np.array(
        page.execute_script("""
            const canvas = document.querySelector("#playground .picture");
            const { data } = canvas.getContext("2d").getImageData(0, 0, 28, 28);
            return Array.from(data).filter((_, i) => i % 4 === 3);""")
    ) / 255  # fmt: skip


def draw(page, points, kind="mouse"):
    pad = find(page, ".pad")
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", pad)
    actions = ActionChains(page, duration=30, devices=[PointerInput(kind, kind)])
    actions.move_to_element_with_offset(pad, *points[0]).click_and_hold()
    for point in points[1:]:
        actions.move_to_element_with_offset(pad, *point)
    actions.release().perform()


def box_and_centre(image):
    """Height and width of what is not 0, and the centre of mass (row, column)."""
    rows, columns = np.nonzero(image)
    centre = [np.average(axis, weights=image[rows, columns]) for axis in (rows, columns)]
    return (np.ptp(rows) + 1, np.ptp(columns) + 1), np.array(centre)


def exact(key):
    _, parameters, batchnorm = NETWORKS[key]
    return {name: value.double() for name, value in parameters.items()}, batchnorm


def nnlib_on_test_set(key, X):
    """nnlib in double precision: activations of each hidden layer, and probabilities, units × examples."""
    AL, caches = l_model_forward(X.double(), *exact(key))
    return [linear_cache[0].numpy() for linear_cache, *_ in caches[1:]], AL.numpy()


def nnlib_on_one(key, pixels, X):
    """The same for a picture outside the test set, batch norm with the statistics of the test set."""
    parameters, batchnorm = exact(key)
    _, caches = l_model_forward(X.double(), parameters, batchnorm)
    A, activations = torch.from_numpy(pixels)[:, None], []
    for layer, (_, _, *normalised) in enumerate(caches[:-1], start=1):
        A, _ = linear_activation_forward(A, parameters[f"W{layer}"], parameters[f"b{layer}"], "relu")
        for over in normalised:
            variance = over.var(-1, correction=0, keepdim=True)
            A = (A - over.mean(-1, keepdim=True)) / (variance + BATCHNORM_EPSILON).sqrt()
        activations.append(A[:, 0].numpy())
    AL, _ = linear_activation_forward(A, parameters["W4"], parameters["b4"], "softmax")
    return activations, AL[:, 0].numpy()


def assert_agree(answer, activations, probabilities):
    assert [len(layer) for layer in answer["activations"]] == [20, 7, 5]
    for ours, theirs in zip(answer["activations"], activations, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)


def first_of_each_digit(Y):
    digits = Y.argmax(0).tolist()
    return [[i for i, label in enumerate(digits) if label == digit][rank] for rank in range(3) for digit in range(10)]


@pytest.mark.parametrize("key", NETWORKS)
def test_numbers_agree_with_nnlib_on_test_images(page, test_set, key):
    X, Y = test_set
    activations, probabilities = nnlib_on_test_set(key, X)
    answers = page.execute_script(
        "return playground.images.map(({ pixels }) => playground.forward(arguments[0], pixels))", key
    )
    assert len(answers) == 30
    for column, answer in zip(first_of_each_digit(Y), answers, strict=True):
        assert_agree(answer, [layer[:, column] for layer in activations], probabilities[:, column])


def test_samples_are_the_first_of_each_digit_to_the_bit(page, test_set):
    X, Y = test_set
    images = page.execute_script("return playground.images.map(({ label, pixels }) => [label, Array.from(pixels)])")
    assert [label for label, _ in images] == [*range(10)] * 3
    assert np.array_equal(np.array([values for _, values in images], np.float32), X[:, first_of_each_digit(Y)].T)


@pytest.mark.parametrize("key", [None, Keys.ENTER, Keys.SPACE], ids=["click", "enter", "space"])
def test_a_picked_sample_is_shown_with_its_label(page, test_set, key):
    X, Y = test_set
    draw(page, SEVEN)
    button = find(page, "button[aria-label='Test image 2 of a 7']")
    button.send_keys(key) if key else button.click()
    expected = X[:, first_of_each_digit(Y)[17]].numpy()
    assert np.array_equal(pixels(page), expected)
    np.testing.assert_allclose(picture(page), expected, atol=1e-6)
    assert "labelled 7" in find(page, "[role=status]").text
    assert [button.accessible_name for button in find_all(page, "[aria-pressed=true]")] == ["Test image 2 of a 7"]
    for article in find_all(page, "article"):
        guess = article.find_element(By.TAG_NAME, "output").text
        assert ("✓ right" if guess == "7" else "✗ wrong, it is 7") in article.text


@pytest.mark.parametrize("kind", ["mouse", "pen", "touch"])
def test_a_drawn_digit_is_prepared_as_mnist_was_and_recognised_as_nnlib_would(page, test_set, kind):
    draw(page, SEVEN, kind)
    drawn = pixels(page)
    image = drawn.reshape(28, 28)
    (height, width), centre = box_and_centre(image)
    assert height == 20
    assert 12 <= width <= 18  # 96 by 116 on the pad
    assert np.abs(centre - 14).max() <= 0.5
    top, bottom = (box_and_centre(image * part)[1][1] for part in (ROW < 9, ROW > 18))
    assert bottom < top - 2  # neither mirrored nor upside down
    assert image.max() == 1
    assert ((image > 0) & (image < 1)).sum() > 10  # anti-aliased
    np.testing.assert_allclose(picture(page), drawn, atol=1e-6)
    assert "Your drawing" in find(page, "[role=status]").text
    for key in NETWORKS:
        activations, probabilities = nnlib_on_one(key, drawn, test_set[0])
        assert_agree(
            page.execute_script("return playground.forward(arguments[0], playground.pixels)", key),
            activations,
            probabilities,
        )
        card = find(page, f"[data-key={key}]")
        assert card.find_element(By.TAG_NAME, "output").text == str(probabilities.argmax())
        shown = [share.text for share in card.find_elements(By.CLASS_NAME, "share")]
        assert shown == [f"{100 * share:.1f} %" for share in probabilities]
        titles = [unit.get_attribute("title") for unit in card.find_elements(By.CLASS_NAME, "unit")]
        numbers = [float(title.split(": ")[1].replace("−", "-")) for title in titles]
        np.testing.assert_allclose(numbers, np.concatenate(activations), rtol=0.06, atol=1e-3)


def test_a_second_stroke_adds_to_the_first(page):
    draw(page, [(-60, 0), (60, 0)])
    one = pixels(page)
    ActionChains(page).move_to_element_with_offset(find(page, ".pad"), 0, 60).perform()
    assert np.array_equal(pixels(page), one)  # a pointer that is not pressed draws nothing
    draw(page, [(0, -60), (0, 60)])
    assert pixels(page).sum() > 1.5 * one.sum()


def rectangle(left, top, width, height):
    ink = np.zeros((SIDE, SIDE), int)
    ink[top : top + height, left : left + width] = 255
    return ink


def prepare(page, ink):
    script = "return Array.from(playground.prepare(arguments[0], arguments[1]))"
    return np.array(page.execute_script(script, ink.ravel().tolist(), len(ink))).reshape(28, 28)


@pytest.mark.parametrize(
    ("ink", "row"),
    [
        (rectangle(200, 30, 40, 80), [1] * 10),
        (rectangle(0, 200, 38, 80), [1] * 9 + [128 / 255]),
        (rectangle(5, 5, 5, 10), [1] * 10),
    ],
    ids=["reduced", "anti-aliased", "enlarged"],
)
def test_prepare_scales_to_twenty_pixels_and_keeps_proportions(page, ink, row):
    image = prepare(page, ink)
    (height, _), centre = box_and_centre(image)
    assert height == 20
    assert np.abs(centre - 14).max() <= 0.5
    for inked in image[image.any(1)]:
        np.testing.assert_allclose(inked[inked > 0], row, atol=1e-6)


def test_prepare_loses_no_ink_at_the_edge(page):
    """A heavy square with a long thin line: centred by mass, the line would leave the picture."""
    ink = rectangle(0, 100, 60, 60) + rectangle(60, 130, 220, 2)
    image = prepare(page, ink)
    assert box_and_centre(image)[0] == (5, 20)
    assert image.sum() == pytest.approx(ink.sum() / 255 / 14**2, rel=0.01)


def test_prepare_of_nothing_is_blank(page):
    assert not prepare(page, rectangle(0, 0, 0, 0)).any()


def test_clear_clears(page):
    draw(page, SEVEN)
    assert pixels(page).any()
    find(page, ".clear").click()
    assert not pixels(page).any()
    assert not picture(page).any()
    pad = """const pad = document.querySelector("#playground .pad");
             return pad.getContext("2d").getImageData(0, 0, 280, 280).data.some((value) => value);"""
    assert not page.execute_script(pad)
    assert [output.text for output in find_all(page, "output")] == ["–"] * 4
    assert {share.text for share in find_all(page, ".share")} == {"–"}


@pytest.mark.parametrize("key", ["experiment-3", "experiment-4"])
def test_bars_are_the_activations_scaled_within_their_layer(page, key):
    """From the bottom up, or with batch norm up and down from the middle; without motion where it is not wanted."""
    reduced = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [reduced]})
    find(page, "button[aria-label='Test image 1 of a 5']").click()
    activations, layers = page.execute_script(
        """
        const layers = [...document.querySelectorAll(`#playground [data-key=${arguments[0]}] .layer`)];
        const bar = (unit) => {
          const { bottom, height } = getComputedStyle(unit, "::after");
          return [parseFloat(bottom) / unit.clientHeight, parseFloat(height) / unit.clientHeight];
        };
        return [playground.forward(arguments[0], playground.pixels).activations,
                layers.map((layer) => [...layer.children].map(bar))];""",
        key,
    )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    zero, length = (0.5, 0.5) if NETWORKS[key][2] else (0, 1)
    for values, bars in zip(activations, layers, strict=True):
        signed = length * np.array(values) / np.abs(values).max()
        bottoms, heights = np.array(bars).T
        np.testing.assert_allclose(bottoms, zero + np.minimum(signed, 0), atol=0.01)
        np.testing.assert_allclose(heights, np.abs(signed), atol=0.03)  # at least a pixel


@pytest.mark.parametrize(("width", "side_by_side"), [(360, 1), (600, 2), (1200, 4)])
def test_page_fits_its_window(page, width, side_by_side):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        wide, inner = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert inner == width
        assert wide <= width
        tops = [article.rect["y"] for article in find_all(page, "article")]
        assert tops.count(tops[0]) == side_by_side
        assert all(button.rect["width"] >= 24 for button in find_all(page, "button"))
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_hides_the_controls(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for selector in (".pad", ".clear", ".samples"):
            assert not find(page, selector).is_displayed()
        assert all(article.is_displayed() for article in find_all(page, "article"))
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_page_loads_nothing_and_says_what_batch_norm_uses(page):
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert "whole test set of 300 images" in find(page, "").text


def test_a_diverged_network_shows_no_numbers(driver, test_set, tmp_path):
    label, parameters, _ = NETWORKS["experiment-4"]
    lost = {name: value * torch.nan for name, value in parameters.items()}
    driver.get(write_page(tmp_path / "page.html", playground_data({"lost": (label, lost, True)}, *test_set)))
    assert find(driver, "output").text == "–"
    assert "it diverged" in find(driver, "article").text
    assert driver.get_log("browser") == []


def test_record_is_small_plain_and_the_same_every_time(test_set):
    record = json.dumps(playground_data(NETWORKS, *test_set), allow_nan=False)
    assert len(record) < 450_000
    assert record == json.dumps(playground_data(NETWORKS, *test_set))


def test_scarce_digits_give_what_they_have():
    X, Y = torch.zeros(784, 3), torch.eye(10)[:, [4, 4, 7]]
    record = playground_data({}, X, Y, samples=2)
    assert [image["label"] for image in record["images"]] == [4, 7, 4]


def test_many_networks_at_once_are_refused(test_set):
    many = initialize_parameters([784, 5, 10], seed=[0, 1])
    with pytest.raises(ValueError, match=r"expected one network.*\(2, 5, 784\)"):
        playground_data({"many": ("many", many, False)}, *test_set)
