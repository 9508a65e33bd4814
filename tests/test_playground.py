"""The report's playground in a real browser: its numbers against nnlib's, its drawing, what it says, its page."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import made_up
from sections import assert_fits_and_can_be_read, in_view, show, unpacked, write_page
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By

from nnlib import initialize_parameters, l_model_forward, linear_activation_forward
from nnlib.core.layers import BATCHNORM_EPSILON
from nnlib.data.dataset import flatten, normalize, one_hot
from nnlib.data.mnist import load_raw
from stages.reporting.labs.digits import digits_data
from stages.reporting.labs.playground import playground_data

THE_STUDYS = [784, 20, 7, 5, 10]
SEEDS = [7, 8, 9]
SEVEN = [(-110, -110), (-40, -110), (-100, -20)]  # from the middle of the pad, in its upper left corner
ROW = np.arange(28)[:, None]


def network(seed, scale=1, layers_dims=THE_STUDYS):
    parameters = initialize_parameters(layers_dims, seed=seed)
    noise = torch.Generator().manual_seed(seed)
    for name, value in parameters.items():
        if name[0] == "b":
            value += torch.randn(value.shape, generator=noise)
        value *= scale
    parameters["W1"][0] *= 1e-6  # a unit that hardly varies, where batch norm's epsilon matters
    return parameters


NETWORKS = {
    "experiment-1": ("1 plain", [network(1), network(11), network(21)], False),
    "experiment-2": ("2 batch norm + L2", [network(2, 1000), None, network(22, 1000)], True),
    "experiment-4": ("4 batch norm", [network(4), network(14), network(24)], True),
    "experiment-2-exact": ("2-exact", [network(5), network(15), network(25)], True),
}
ALIVE = [(key, k) for key, (_, replicas, _) in NETWORKS.items() for k in range(3) if replicas[k]]


def pictures(seed, count):
    """Noise: X (784, count) with values of 0 to 255 over 255, and one-hot Y."""
    random = torch.Generator().manual_seed(seed)
    greys = torch.randint(-255, 256, (784, count), generator=random).clamp_min(0)
    return greys.to(torch.float32) / 255, one_hot(torch.randint(0, 10, (count,), generator=random))


TRAIN, TEST = pictures(0, 40), pictures(1, 300)


def record(networks=NETWORKS, seeds=SEEDS, layers_dims=THE_STUDYS, train=TRAIN, test=TEST):
    return playground_data(layers_dims, networks, seeds, train[0], *test)


def write(path, playground, train=TRAIN, test=TEST):
    digits = digits_data(train, test)
    return write_page(path, "digits.html.j2", "playground.html.j2", digits=digits, playground=playground)


@pytest.fixture(scope="module")
def packed():
    return record()


@pytest.fixture(scope="module")
def address(packed, tmp_path_factory):
    return write(tmp_path_factory.mktemp("page") / "page.html", packed)


def opened(driver, address):
    driver.get(address)
    return unpacked(driver)


@pytest.fixture
def page(driver, address):
    """The page, freshly opened; afterwards nothing may stand in the console."""
    yield opened(driver, address)
    assert driver.get_log("browser") == []


def find(page, selector):
    return page.find_element(By.CSS_SELECTOR, f"#playground {selector}")


def find_all(page, selector):
    return page.find_elements(By.CSS_SELECTOR, f"#playground {selector}")


def status(page):
    return find(page, "[role=status]").text


def answers(page):
    """What each network answers, and what stands below."""
    shown = page.execute_script("""
        return [...document.querySelectorAll("#playground [data-answer]")].map((one) =>
          [one.dataset.answer, ...["output", ".share"].map((part) => one.querySelector(part).innerText)]);""")
    return {key: (answer, share) for key, answer, share in shown}


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
    pad = in_view(page, find(page, ".pad"))
    actions = ActionChains(page, duration=30, devices=[PointerInput(kind, kind)])
    actions.move_to_element_with_offset(pad, *points[0]).click_and_hold()
    for point in points[1:]:
        actions.move_to_element_with_offset(pad, *point)
    actions.release().perform()


def choose(page, seed):
    in_view(page, next(one for one in find_all(page, ".seeds label") if one.text == str(seed))).click()


def box_and_centre(image):
    """Height and width of what is not 0, and the centre of mass (row, column)."""
    rows, columns = np.nonzero(image)
    centre = [np.average(axis, weights=image[rows, columns]) for axis in (rows, columns)]
    return (np.ptp(rows) + 1, np.ptp(columns) + 1), np.array(centre)


def inflated(text, dtype):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


def in_the_page(packed, key, replica):
    """The parameters that the page has: those given, but for W1, which is rounded; in double precision."""
    one = next(one for one in packed["networks"] if one["key"] == key)["replicas"][replica]
    given = NETWORKS[key][1][replica]
    levels = inflated(one["levels"], "i1").reshape(given["W1"].shape)
    steps = inflated(one["rest"], "<f4")[: len(levels), None]
    return {name: value.double() for name, value in (given | {"W1": torch.from_numpy(levels * steps)}).items()}


def nnlib_on_one(packed, key, replica, pixels, X):
    """nnlib in double precision on a picture outside the test set, batch norm with the statistics of the test set:
    the activations of each hidden layer before batch norm, and the probabilities."""
    parameters, batchnorm = in_the_page(packed, key, replica), NETWORKS[key][2]
    _, caches = l_model_forward(X.double(), parameters, batchnorm)
    A, activations = torch.from_numpy(pixels)[:, None], []
    for layer, (_, _, *normalised) in enumerate(caches[:-1], start=1):
        A, _ = linear_activation_forward(A, parameters[f"W{layer}"], parameters[f"b{layer}"], "relu")
        activations.append(A[:, 0].numpy())
        for over in normalised:
            variance = over.var(-1, correction=0, keepdim=True)
            A = (A - over.mean(-1, keepdim=True)) / (variance + BATCHNORM_EPSILON).sqrt()
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


@pytest.mark.parametrize(("key", "replica"), ALIVE)
def test_numbers_agree_with_nnlib_on_test_images(page, packed, key, replica):
    X, Y = TEST
    answers = page.execute_script(
        "return playground.images.map(({ pixels }) => playground.forward(arguments[0], pixels, arguments[1]))",
        key,
        replica,
    )
    assert len(answers) == 30
    for column, answer in zip(first_of_each_digit(Y), answers, strict=True):
        assert_agree(answer, *nnlib_on_one(packed, key, replica, X[:, column].double().numpy(), X))


@pytest.mark.parametrize(("key", "replica"), ALIVE)
def test_weights_are_rounded_by_half_a_step_at_most(packed, key, replica):
    given = NETWORKS[key][1][replica]["W1"].double()
    rounded = in_the_page(packed, key, replica)["W1"]
    step = given.abs().amax(1, keepdim=True) / 127
    assert ((rounded - given).abs() <= 0.501 * step).all()
    assert rounded.unique().numel() > 1000


def test_agreement_is_that_of_the_network_that_rounding_changes_most(packed):
    shares = []
    for key, replica in ALIVE:
        batchnorm = NETWORKS[key][2]
        before, after = (
            l_model_forward(TEST[0].double(), {name: value.double() for name, value in one.items()}, batchnorm)[0]
            for one in (NETWORKS[key][1][replica], in_the_page(packed, key, replica))
        )
        shares.append((before.argmax(0) == after.argmax(0)).double().mean().item())
    assert packed["agreement"] == pytest.approx(min(shares), abs=0.001)
    assert packed["agreement"] < 1


def test_samples_are_the_first_of_each_digit_to_the_bit(page):
    X, Y = TEST
    images = page.execute_script("return playground.images.map(({ label, pixels }) => [label, Array.from(pixels)])")
    assert [label for label, _ in images] == [*range(10)] * 3
    assert np.array_equal(np.array([values for _, values in images], np.float32), X[:, first_of_each_digit(Y)].T)


@pytest.mark.parametrize("key", [None, Keys.ENTER, Keys.SPACE], ids=["click", "enter", "space"])
def test_a_picked_sample_is_shown_with_its_label(page, key):
    X, Y = TEST
    draw(page, SEVEN)
    button = in_view(page, find(page, "button[aria-label='Test image 2 of a 7']"))
    button.send_keys(key) if key else button.click()
    expected = X[:, first_of_each_digit(Y)[17]].numpy()
    assert np.array_equal(pixels(page), expected)
    np.testing.assert_allclose(picture(page), expected, atol=1e-6)
    assert "labelled 7" in status(page)
    assert [button.accessible_name for button in find_all(page, "[aria-pressed=true]")] == ["Test image 2 of a 7"]
    for guess, comment in answers(page).values():
        assert comment.endswith("✓" if guess == "7" else "✗")


@pytest.mark.parametrize("kind", ["mouse", "pen", "touch"])
def test_a_drawn_digit_is_prepared_as_mnist_was_and_recognised_as_nnlib_would(page, packed, kind):
    draw(page, SEVEN, kind)
    drawn = pixels(page)
    image = drawn.reshape(28, 28)
    (height, width), centre = box_and_centre(image)
    assert height == 20
    assert 15 <= width <= 18  # 70 by 90 on the pad, and the brush
    assert np.abs(centre - 14).max() <= 0.5
    top, bottom = (box_and_centre(image * part)[1][1] for part in (ROW < 9, ROW > 18))
    assert bottom < top - 2  # neither mirrored nor upside down
    assert image.max() == 1
    assert ((image > 0) & (image < 1)).sum() > 10  # anti-aliased
    np.testing.assert_allclose(picture(page), drawn, atol=1e-6)
    for key in NETWORKS:
        activations, probabilities = nnlib_on_one(packed, key, 0, drawn, TEST[0])
        said = page.execute_script("return playground.forward(arguments[0], playground.pixels)", key)
        assert_agree(said, activations, probabilities)
        assert answers(page)[key] == (str(probabilities.argmax()), f"{100 * probabilities.max():.1f} %")
        shown, titles = page.execute_script(
            """const all = (name) => [...arguments[0].getElementsByClassName(name)];
            return [all("share").map((one) => one.innerText), all("unit").map((one) => one.title)];""",
            find(page, f"[data-key={key}]"),
        )
        assert shown == [f"{100 * share:.1f} %" for share in probabilities]
        numbers = [float(title.split(": ")[1].replace(",", "")) for title in titles]
        np.testing.assert_allclose(numbers, np.concatenate(activations), rtol=0.01, atol=1e-3)


def test_a_second_stroke_adds_to_the_first(page):
    draw(page, [(-60, 0), (60, 0)])
    one = pixels(page)
    ActionChains(page).move_to_element_with_offset(find(page, ".pad"), 0, 60).perform()
    assert np.array_equal(pixels(page), one)  # a pointer that is not pressed draws nothing
    draw(page, [(0, -60), (0, 60)])
    assert pixels(page).sum() > 1.5 * one.sum()


def arc(x, y, across, down, start, end):
    turns = np.radians(np.linspace(start, end, 24))
    return np.stack([x + across * np.cos(turns), y + down * np.sin(turns)], 1).tolist()


THREE = [arc(130, 90, 65, 50, 200, 450) + arc(130, 190, 75, 50, 270, 510)]
CROSS = [[[60, 60], [220, 220]], [[220, 60], [60, 220]]]
LETTER = [[[60, 250], [140, 30], [220, 250]], [[90, 170], [190, 170]]]  # an A
FILLED = [[[40, y], [240, y]] for y in range(40, 250, 10)]
DOT = [[[140, 140]]]
DIGITS = {
    "0": [arc(140, 140, 70, 100, 0, 360)],
    "1": [[[170, 40], [120, 240]]],
    "3": THREE,
    "4": [[[150, 40], [60, 170], [220, 170]], [[170, 100], [170, 250]]],
    "7": [[[60, 50], [220, 50], [110, 240]]],
}


def prepare(page, strokes):
    return np.array(page.execute_script("return Array.from(playground.prepare(arguments[0]))", strokes)).reshape(28, 28)


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.3])
def test_a_small_drawing_gets_as_thin_a_line_as_a_large_one(page, scale):
    scaled = [[[scale * x + 5, scale * y + 9] for x, y in stroke] for stroke in THREE]
    np.testing.assert_allclose(prepare(page, scaled), prepare(page, THREE), atol=0.02)


def test_prepare_keeps_proportions_and_averages_what_a_pixel_covers(page):
    image = prepare(page, [[[100, 40], [100, 240]]])
    (height, width), centre = box_and_centre(image)
    assert (height, width) == (20, 3)
    assert np.abs(centre - 14).max() <= 0.5
    assert image[14][image[14] > 0] == pytest.approx([1, 1, 0.6], abs=0.02)  # 2.6 pixels wide


def test_prepare_loses_no_ink_at_the_edge(page):
    """A heavy block with a long thin line: centred by mass, the line would leave the picture."""
    strokes = [[[20, y], [80, y]] for y in range(20, 260, 10)] + [[[80, 140], [260, 140]]]
    image = prepare(page, strokes)
    (_, width), centre = box_and_centre(image)
    assert width == 20
    assert image[:, 27].any()
    assert centre[1] < 13.5


def test_prepare_of_nothing_is_blank(page):
    assert not prepare(page, []).any()


def test_clear_clears(page):
    draw(page, SEVEN)
    assert pixels(page).any()
    find(page, ".clear").click()
    assert not pixels(page).any()
    assert not picture(page).any()
    pad = """const pad = document.querySelector("#playground .pad");
             return pad.getContext("2d").getImageData(0, 0, 280, 280).data.some((value) => value);"""
    assert not page.execute_script(pad)
    assert set(answers(page).values()) == {("–", "")}
    assert {share.text for share in find_all(page, ".digit .share")} == {"–"}
    assert status(page) == "Nothing here yet: draw a digit."
    draw(page, [(-60, 0), (60, 0)])
    assert box_and_centre(pixels(page).reshape(28, 28))[0] == (3, 20)  # what was cleared is not drawn again


def test_bars_are_the_activations_before_batch_norm_on_one_log_scale(page, packed):
    """Without motion where it is not wanted; a network a thousand times as large stands three decades higher."""
    reduced = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [reduced]})
    in_view(page, find(page, "button[aria-label='Test image 1 of a 5']")).click()
    low, high = packed["decades"]
    for key in NETWORKS:
        activations, layers = page.execute_script(
            """
            const rows = [...document.querySelectorAll(`#playground [data-key=${arguments[0]}] .units`)];
            const share = (unit) => parseFloat(getComputedStyle(unit, "::after").height) / unit.clientHeight;
            return [playground.forward(arguments[0], playground.pixels).activations,
                    rows.map((row) => [...row.children].map(share))];""",
            key,
        )
        for values, heights in zip(activations, layers, strict=True):
            with np.errstate(divide="ignore"):
                expected = np.clip((np.log10(values) - low) / (high - low), 0, 1)
            np.testing.assert_allclose(heights, expected, atol=0.01)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_scale_reaches_from_small_to_the_largest_activation_of_all(packed):
    largest = max(
        cache[1].clamp_min(0).max().item()
        for key, k in ALIVE
        for cache in l_model_forward(TEST[0].double(), in_the_page(packed, key, k), NETWORKS[key][2])[1][:-1]
    )
    low, high = packed["decades"]
    assert 10 ** (high - 1) < largest <= 10**high
    assert low <= 0


def test_another_seed_shows_other_networks_and_keys_choose_it(page):
    draw(page, SEVEN)
    first = answers(page)
    chosen = find(page, ".seeds :checked")
    assert chosen.accessible_name == "7"
    chosen.send_keys(Keys.ARROW_RIGHT)
    assert find(page, ".seeds :checked").accessible_name == "8"
    second = answers(page)
    assert second["experiment-2"] == ("–", "diverged")
    assert second["experiment-1"] != first["experiment-1"]
    said = page.execute_script("return playground.forward('experiment-1', playground.pixels, 1).probabilities")
    assert second["experiment-1"][0] == str(np.argmax(said))
    choose(page, 7)
    assert answers(page) == first
    assert "first 3 seeds" in find(page, "").text


@pytest.fixture(scope="module")
def real(mnist, tmp_path_factory):
    """The page with real digits, and networks of which all are sure of whatever they see, or none is."""
    images, labels, *_ = load_raw(mnist)
    X, Y = flatten(normalize(images[:4000])), one_hot(labels[:4000])
    train, test = (X[:, :2000], Y[:, :2000]), (X[:, 2000:], Y[:, 2000:])
    addresses = {}
    for name, bias in {"sure": 9.0, "unsure": 0.0}.items():
        parameters = {name: value * 1e-3 for name, value in network(3).items()}
        parameters["b4"] = torch.zeros(10, 1)
        parameters["b4"][8] = bias
        networks = {key: (label, [parameters], batchnorm) for key, (label, _, batchnorm) in NETWORKS.items()}
        playground = record(networks, [0], train=train, test=test)
        addresses[name] = write(tmp_path_factory.mktemp("real") / f"{name}.html", playground, train, test)
    return addresses


SHOW = "playground.show(playground.prepare(arguments[0]))"
UNLIKE = "This looks like no digit (unlike every training image), "
STRANGE = {
    "cross": (CROSS, UNLIKE),
    "A": (LETTER, UNLIKE),
    "filled": (FILLED, "This looks like no digit (more ink than any test image), "),
    "dot": (DOT, "This looks like no digit (less ink than any test image), "),
}


@pytest.mark.parametrize(
    ("kind", "strange", "plain"),
    [
        ("sure", "yet 4 of 4 networks are sure.", "4 of 4 networks are sure."),
        ("unsure", "and no network is sure.", "No network is sure."),
    ],
)
def test_what_is_no_digit_is_said_to_look_like_none_however_sure_the_networks_are(driver, real, kind, strange, plain):
    page = opened(driver, real[kind])

    def said(strokes):
        page.execute_script(SHOW, strokes)
        return status(page)

    expected = {name: said_of_it + strange for name, (_, said_of_it) in STRANGE.items()}
    assert {name: said(strokes) for name, (strokes, _) in STRANGE.items()} == expected
    assert {name: said(strokes) for name, strokes in DIGITS.items()} == dict.fromkeys(DIGITS, f"Your drawing. {plain}")


def test_similarity_is_the_cosine_of_the_blurred_pictures(page):
    ours = TEST[0][:, 17]
    said = page.execute_script("return playground.similarity(arguments[0])", ours.tolist())

    def blurred(X):
        padded = np.pad(X.T.reshape(-1, 28, 28), ((0, 0), (1, 1), (1, 1)))
        return sum(padded[:, y : y + 28, x : x + 28] for y in range(3) for x in range(3)).reshape(-1, 784)

    known, one = blurred((TRAIN[0] * 15).round().numpy()), blurred(ours[:, None].numpy())[0]
    cosines = known @ one / np.linalg.norm(known, axis=1) / np.linalg.norm(one)
    assert said == pytest.approx(cosines.max(), abs=1e-5)


def test_what_is_ordinary_is_what_ninety_five_of_a_hundred_test_images_are(page, packed):
    said = page.execute_script(
        "return arguments[0].map((pixels) => playground.similarity(pixels))", TEST[0][:, :100].T.tolist()
    )
    assert 0.85 <= np.mean(np.array(said) >= packed["ordinary"]["similarity"]) <= 1
    least, most = packed["ordinary"]["ink"]
    assert (TEST[0].sum(0) >= least).all()
    assert (TEST[0].sum(0) <= most).all()
    assert most - least <= np.ptp(TEST[0].sum(0).numpy()) + 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "side_by_side"), [(360, 1), (768, 3), (1280, 4)])
@pytest.mark.usefixtures("as_before")
def test_fits_and_can_be_read(page, width, side_by_side, scheme):
    show(page, width, scheme)
    draw(page, SEVEN)
    assert_fits_and_can_be_read(page, "#playground", width)
    tops = [article.rect["y"] for article in find_all(page, "article")]
    assert tops.count(tops[0]) == side_by_side
    assert all(button.rect["width"] >= 24 for button in find_all(page, "button"))


@pytest.mark.usefixtures("as_before")
def test_answers_stay_in_view_on_a_phone_while_drawing(page):
    show(page, 360, "light")
    for block in ("start", "center", "end"):
        scroll = "arguments[0].scrollIntoView({ block: arguments[1], behavior: 'instant' })"
        page.execute_script(scroll, find(page, ".pad"), block)
        seen = page.execute_script("""
            return [...document.querySelectorAll("#playground :is(output, [role=status])")].every((one) => {
              const { top, bottom, left, right } = one.getBoundingClientRect();
              return top >= 0 && bottom <= innerHeight && left >= 0 && right <= innerWidth; })""")
        assert seen, block


@pytest.mark.usefixtures("as_before")
def test_keys_alone_draw(page):
    """A seven: right, aslant, and before it a way without ink."""
    pad = in_view(page, find(page, ".pad"))
    top = page.execute_script("playground.clear(); arguments[0].focus({ preventScroll: true }); return scrollY", pad)
    keys = ActionChains(page)
    for key in (Keys.ARROW_LEFT, Keys.ARROW_UP):
        keys.send_keys(key * 7)
    keys.perform()
    assert not pixels(page).any()
    keys = ActionChains(page).send_keys(Keys.SPACE).send_keys(Keys.ARROW_RIGHT * 14).key_down(Keys.ARROW_LEFT)
    for _ in range(14):  # with both held down
        keys.key_up(Keys.ARROW_DOWN).key_down(Keys.ARROW_DOWN)
    keys.key_up(Keys.ARROW_DOWN).key_up(Keys.ARROW_LEFT).send_keys(Keys.SPACE).send_keys(Keys.ARROW_RIGHT * 5).perform()
    across, aslant = [[70 + 10 * k, 70] for k in range(15)], [[200 - 10 * k, 70 + 10 * k] for k in range(15)]
    assert np.array_equal(pixels(page), prepare(page, [[*across, *aslant]]).ravel())
    assert page.execute_script("return scrollY") == top


def test_keys_alone_reach_all_controls(page):
    page.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(33):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.append(page.switch_to.active_element.accessible_name)
    assert reached[0].startswith("Draw a digit here")
    assert reached[1:3] == ["Clear", "7"]
    assert len(set(reached)) == 33
    assert find(page, ".seeds").accessible_name == "Seed"


def test_page_loads_nothing_and_says_what_batch_norm_uses(page):
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert "test set’s 300 images" in find(page, "").text


def test_a_browser_that_cannot_unpack_the_networks_says_so(driver, address):
    source = {"source": "delete window.DecompressionStream"}
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        driver.get(address)
        assert "no DecompressionStream" in status(driver)
        assert not find(driver, ".desk").is_displayed()
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def lost():
    return {name: value * torch.nan for name, value in network(4).items()}


OTHERS = {
    "all diverged": ({"lost": ("4 batch norm", [None], True)}, [0], THE_STUDYS),
    "diverged though it is not said": ({"lost": ("4 batch norm", [lost()], True)}, [0], THE_STUDYS),
    "none": ({}, [0], THE_STUDYS),
    "no hidden layer": ({"a": ("1 plain", [network(1, 1, [784, 10])], True)}, [5], [784, 10]),
    "many layers": ({"a": ("2 batch norm", [network(1, 1, [784, *[6] * 8, 10])], True)}, [5], [784, *[6] * 8, 10]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_networks_and_none(driver, tmp_path, case):
    networks, seeds, layers_dims = OTHERS[case]
    packed = record(networks, seeds, layers_dims)
    json.dumps(packed, allow_nan=False)
    page = opened(driver, write(tmp_path / "page.html", packed))
    draw(page, SEVEN)
    shown = answers(page)
    if "diverged" in case:
        assert shown == {"lost": ("–", "diverged")}
        assert status(page) == "All of these networks diverged: choose another seed."
    elif networks:
        assert shown["a"][0].isdigit()
        assert len(find_all(page, "article .layer")) == len(layers_dims) - 2
    assert not {"NaN", "undefined", "null", "Infinity"} & set(find(page, "").text.split())
    assert driver.get_log("browser") == []


def test_record_is_small_plain_and_the_same_every_time(packed):
    text = json.dumps(packed, allow_nan=False)
    assert len(text) < 330_000
    networks = {  # their numbers in another order, as a file may have them
        key: (label, [one and dict(sorted(one.items())) for one in replicas], batchnorm)
        for key, (label, replicas, batchnorm) in NETWORKS.items()
    }
    assert text == json.dumps(record(networks))


ONE_CELL = {"batch_size": [32], "epochs": [1], "l2": [0.01]}


@pytest.mark.parametrize(("replicas", "seeds"), [(1, [40]), (2, [40, 41]), (5, [40, 41, 42])])
def test_results_hand_out_the_first_seeds_of_the_experiments_that_there_are(replicas, seeds):
    r = made_up(replicas=replicas, seed=40, epochs=1, grid=ONE_CELL, diverged=("experiment-4",))
    assert r.seeds_played == seeds
    assert list(r.networks) == [*(f"experiment-{number}" for number in "1234"), "experiment-2-exact"]
    assert r.networks["experiment-4"][1] == [None] * len(seeds)
    label, networks, batchnorm = r.networks["experiment-2-exact"]
    assert (label, batchnorm) == ("2-exact", True)
    for k, network in enumerate(networks):
        assert torch.equal(network["W1"], r.models["experiment-2-exact"].parameters["W1"][k])
    without = {key: run for key, run in r.models.items() if key != "experiment-2-exact"}
    assert list(replace(r, models=without).networks) == [f"experiment-{number}" for number in "1234"]


def test_scarce_digits_give_what_they_have():
    test = torch.zeros(784, 3), torch.eye(10)[:, [4, 4, 7]]
    packed = playground_data(THE_STUDYS, {}, [0], TRAIN[0], *test, samples=2)
    assert [image["label"] for image in packed["images"]] == [4, 7, 4]
