"""The report's playground: its record, and in a real browser its numbers against nnlib's, its drawing, what it says."""

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from lab_page import LabPage, write_page
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.pointer_input import PointerInput

from nnlib import initialize_parameters, l_model_forward, linear_activation_forward
from nnlib.core.layers import BATCHNORM_EPSILON
from nnlib.data.catalogue import MNIST
from nnlib.data.dataset import flatten, normalize, one_hot
from nnlib.data.raw import load_raw
from stages.reporting.labs.digits import digits_data
from stages.reporting.labs.playground import Networks, playground_data

THE_STUDYS = [784, 20, 7, 5, 10]
SEEDS = [7, 8, 9]
SEVEN = [(-90, -90), (-40, -90), (-90, -10)]  # from the middle of the pad, in its upper left corner
ROW = np.arange(28)[:, None]


def network(seed, scale=1, layers_dims=THE_STUDYS):
    parameters = initialize_parameters(layers_dims, initialization="he_fan_out", seed=seed)
    noise = torch.Generator().manual_seed(seed)
    for name, value in parameters.items():
        if name[0] == "b":
            value += torch.randn(value.shape, generator=noise)
        value *= scale
    parameters["W1"][0] *= 1e-6  # a unit that hardly varies, where batch norm's epsilon matters
    return parameters


NETWORKS = {
    "plain": Networks("1 plain", [network(1), network(11), network(21)], "relu", "none"),
    "sigmoid": Networks("sigmoid", [network(7), network(17), network(27)], "sigmoid", "exact"),
    "exploded": Networks("2 batch norm + L2", [network(2, 1000), None, network(22, 1000)], "relu", "straight_through"),
    "exact": Networks("2-exact", [network(5), network(15), network(25)], "relu", "exact"),
}
ALIVE = [(key, k) for key, (_, replicas, *_) in NETWORKS.items() for k in range(3) if replicas[k]]


def pictures(seed, count):
    """Noise: X (784, count) with values of 0 to 255 over 255, and one-hot Y."""
    random = torch.Generator().manual_seed(seed)
    greys = torch.randint(-255, 256, (784, count), generator=random).clamp_min(0)
    return greys.to(torch.float32) / 255, one_hot(torch.randint(0, 10, (count,), generator=random))


TRAIN, TEST = pictures(0, 40), pictures(1, 300)


def record(networks=NETWORKS, seeds=SEEDS, layers_dims=THE_STUDYS, train=TRAIN, test=TEST):
    return playground_data(layers_dims, networks, seeds, train[0], *test)


def write(path, playground, train=TRAIN, test=TEST):
    return write_page(path, "playground", digits=digits_data(train, test), playground=playground)


@pytest.fixture(scope="module")
def packed():
    return record()


@pytest.fixture(scope="module")
def address(packed, tmp_path_factory):
    return write(tmp_path_factory.mktemp("page") / "page.html", packed)


class Lab(LabPage):
    def __init__(self, driver, address):
        super().__init__(driver, address, "playground")
        self.until(lambda: self.script("return Boolean(window.playground?.forward)"))
        driver.execute_async_script("playground.learnDigits().then(arguments[0])")

    @property
    def pixels(self):
        return np.array(self.script("return Array.from(playground.pixels)"))

    @property
    def picture(self):
        """What the canvas of the 28 × 28 picture shows, 0 to 1."""
        return np.array(self.script("""
            const { data } = document.querySelector("#playground .picture").getContext("2d").getImageData(0, 0, 28, 28);
            return Array.from(data).filter((_, i) => i % 4 === 3);""")) / 255  # fmt: skip

    @property
    def answers(self):
        """Row after row what stands in the cells, and whether it is grey."""
        return self.script("""return [...document.querySelectorAll("#playground tbody tr")].map((row) =>
          [...row.querySelectorAll("td")].map((cell) => [cell.innerText, cell.classList.contains("unsure")]))""")

    def forward(self, key, replica):
        return self.script("return playground.forward(arguments[0], playground.pixels, arguments[1])", key, replica)

    def prepare(self, strokes):
        pixels = self.script("return Array.from(playground.prepare(arguments[0]))", strokes)
        return np.array(pixels).reshape(28, 28)

    def draw(self, points, kind="mouse"):
        pad = self.in_view(self.find(".pad"))
        actions = ActionChains(self.driver, duration=30, devices=[PointerInput(kind, kind)])
        actions.move_to_element_with_offset(pad, *points[0]).click_and_hold()
        for point in points[1:]:
            actions.move_to_element_with_offset(pad, *point)
        actions.release().perform()


@pytest.fixture
def page(driver, address):
    """The page, freshly opened; afterwards nothing may stand in the console."""
    yield Lab(driver, address)
    assert driver.get_log("browser") == []


def box_and_centre(image):
    """Height and width of what is not 0, and the centre of mass (row, column)."""
    rows, columns = np.nonzero(image)
    centre = [np.average(axis, weights=image[rows, columns]) for axis in (rows, columns)]
    return (np.ptp(rows) + 1, np.ptp(columns) + 1), np.array(centre)


def in_the_page(packed, key, replica):
    """The parameters that the page has: those given, but for W1, which is rounded; in double precision."""

    def inflated(text, dtype):
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)

    one = next(one for one in packed["networks"] if one["key"] == key)["replicas"][replica]
    given = NETWORKS[key].replicas[replica]
    levels = inflated(one["levels"], "i1").reshape(given["W1"].shape)
    steps = inflated(one["rest"], "<f4")[: len(levels), None]
    return {name: value.double() for name, value in (given | {"W1": torch.from_numpy(levels * steps)}).items()}


def nnlib_on_one(packed, key, replica, pixels):
    """nnlib in double precision on one picture, batch norm with the statistics of the test set: the activations of each
    hidden layer before batch norm, and the probabilities."""
    parameters, (activation, batchnorm) = in_the_page(packed, key, replica), NETWORKS[key][2:]
    _, caches = l_model_forward(TEST[0].double(), parameters, batchnorm, activation=activation)
    A, activations = torch.from_numpy(pixels)[:, None], []
    for layer, cache in enumerate(caches[:-1], start=1):
        A, _ = linear_activation_forward(A, parameters[f"W{layer}"], parameters[f"b{layer}"], activation)
        activations.append(A[:, 0].numpy())
        if batchnorm != "none":
            variance = cache.A.var(-1, correction=0, keepdim=True)
            A = (A - cache.A.mean(-1, keepdim=True)) / (variance + BATCHNORM_EPSILON).sqrt()
    AL, _ = linear_activation_forward(A, parameters["W4"], parameters["b4"], "softmax")
    return activations, AL[:, 0].numpy()


def predictions(packed):
    """key → the probabilities of each living replica on the test set, replicas × classes × examples."""
    found = {}
    for key, k in ALIVE:
        activation, batchnorm = NETWORKS[key][2:]
        AL, _ = l_model_forward(TEST[0].double(), in_the_page(packed, key, k), batchnorm, activation=activation)
        found.setdefault(key, []).append(AL.numpy())
    return {key: np.stack(AL) for key, AL in found.items()}


def samples(Y):
    digits = Y.argmax(0).tolist()
    return [[i for i, label in enumerate(digits) if label == digit][rank] for rank in range(3) for digit in range(10)]


def test_it_opens_on_an_image_to_which_one_configurations_seeds_give_the_most_different_answers(page, packed):
    different, sureness = [], []
    for AL in predictions(packed).values():
        answers = AL.argmax(1)
        different.append([len(set(column)) for column in answers.T])
        sureness.append(AL.max(1).min(0))
    different, sureness = np.array(different), np.array(sureness)
    assert packed["answers"] == different.max() == 3
    assert packed["disagreements"] == (different == 3).any(0).sum()
    image = np.where(different == 3, sureness, 0).max(0).argmax()
    np.testing.assert_allclose(page.pixels, TEST[0][:, image], atol=1e-6)
    assert "3 answers from the 3 seeds" in page.find("").text
    assert any(len({cell[0] for cell, _ in row if cell[0].isdigit()}) == 3 for row in page.answers)


@pytest.mark.parametrize(("key", "replica"), ALIVE)
def test_numbers_agree_with_nnlib_on_test_images(page, packed, key, replica):
    answers = page.script(
        "return playground.images.map(({ pixels }) => playground.forward(arguments[0], pixels, arguments[1]))",
        key,
        replica,
    )
    for column, answer in zip(samples(TEST[1]), answers[:30], strict=True):
        activations, probabilities = nnlib_on_one(packed, key, replica, TEST[0][:, column].double().numpy())
        for ours, theirs in zip(answer["activations"], activations, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)


def test_weights_are_rounded_by_half_a_step_at_most_and_the_agreement_is_told(packed):
    shares = []
    for key, replica in ALIVE:
        given, rounded = NETWORKS[key].replicas[replica], in_the_page(packed, key, replica)
        step = given["W1"].double().abs().amax(1, keepdim=True) / 127
        assert ((rounded["W1"] - given["W1"]).abs() <= 0.501 * step).all()
        before, after = (
            l_model_forward(
                TEST[0].double(),
                {name: value.double() for name, value in one.items()},
                NETWORKS[key].batchnorm,
                activation=NETWORKS[key].activation,
            )
            for one in (given, rounded)
        )
        shares.append((before[0].argmax(0) == after[0].argmax(0)).double().mean().item())
    assert packed["agreement"] == pytest.approx(min(shares), abs=0.001)
    assert packed["agreement"] < 1


def test_images_are_the_first_of_each_digit_to_the_bit(page):
    X, Y = TEST
    images = page.script("return playground.images.map(({ label, pixels }) => [label, Array.from(pixels)])")[:30]
    assert [label for label, _ in images] == [*range(10)] * 3
    assert np.array_equal(np.array([values for _, values in images], np.float32), X[:, samples(Y)].T)


def test_answers_below_ninety_percent_are_grey_and_have_a_question_mark(page):
    page.draw(SEVEN)
    for key, row in zip(NETWORKS, page.answers, strict=True):
        for replica, (text, grey) in enumerate(row):
            if NETWORKS[key].replicas[replica] is None:
                assert (text, grey) == ("diverged", False)
                continue
            probabilities = page.forward(key, replica)["probabilities"]
            assert grey == (max(probabilities) < 0.9)
            assert " ".join(text.split()) == f"{np.argmax(probabilities)}{'?' * grey} {int(100 * max(probabilities))} %"
    assert "networks" in page.status


def test_images_are_one_stop_for_tab_and_arrows_choose_among_them(page):
    page.in_view(page.find(".clear"))
    page.script("document.querySelector('#playground .clear').focus()")
    reached = []
    for _ in range(3):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.append(page.driver.switch_to.active_element.accessible_name)
    assert reached[0].startswith("Image 30, a ")
    assert reached[1:] == ["Layer by layer", "How the answers are made"]
    ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB * 2).key_up(Keys.SHIFT).perform()
    ActionChains(page.driver).send_keys(Keys.ARROW_UP).perform()
    assert [one.accessible_name for one in page.find_all("[aria-checked=true]")] == [
        page.driver.switch_to.active_element.accessible_name
    ]
    np.testing.assert_allclose(page.pixels, TEST[0][:, samples(TEST[1])[20]], atol=1e-6)
    assert page.script("return location.hash") == "#playground?image=20"


@pytest.mark.parametrize(("state", "image"), [("image=17", 17), ("image=31", 30), ("image=-1", 30), ("image=x", 30)])
def test_the_address_says_the_image(driver, address, state, image):
    page = Lab(driver, f"{address}#playground?{state}")
    checked = page.find("[aria-checked=true]").accessible_name
    assert checked.startswith(f"Image {image}, a ")
    assert page.status.startswith("A test image of a " + checked[-1])


@pytest.mark.parametrize("kind", ["mouse", "pen", "touch"])
def test_a_drawn_digit_is_prepared_as_mnist_was_and_recognised_as_nnlib_would(page, packed, kind):
    page.draw(SEVEN, kind)
    image = page.pixels.reshape(28, 28)
    (height, width), centre = box_and_centre(image)
    assert height == 20
    assert 12 <= width <= 17
    assert np.abs(centre - 14).max() <= 0.5
    top, bottom = (box_and_centre(image * part)[1][1] for part in (ROW < 9, ROW > 18))
    assert bottom < top - 2  # neither mirrored nor upside down
    assert image.max() == 1
    assert ((image > 0) & (image < 1)).sum() > 10  # anti-aliased
    np.testing.assert_allclose(page.picture, page.pixels, atol=1e-6)
    for key, replica in ALIVE:
        _, probabilities = nnlib_on_one(packed, key, replica, page.pixels)
        np.testing.assert_allclose(page.forward(key, replica)["probabilities"], probabilities, atol=1e-5)


def test_a_second_stroke_adds_to_the_first_and_clear_clears(page):
    page.draw([(-60, 0), (60, 0)])
    one = page.pixels
    ActionChains(page.driver).move_to_element_with_offset(page.find(".pad"), 0, 60).perform()
    assert np.array_equal(page.pixels, one)  # a pointer that is not pressed draws nothing
    page.draw([(0, -60), (0, 60)])
    assert page.pixels.sum() > 1.5 * one.sum()
    page.click(".clear")
    assert not page.pixels.any()
    assert not page.picture.any()
    assert {text for row in page.answers for text, _ in row} == {"–"}
    assert page.status == "Nothing here yet: draw a digit."
    page.draw([(-60, 0), (60, 0)])
    assert box_and_centre(page.pixels.reshape(28, 28))[0] == (3, 20)  # what was cleared is not drawn again


def test_keys_alone_draw(page):
    """A seven: right, aslant, and before it a way without ink."""
    pad = page.in_view(page.find(".pad"))
    top = page.script("playground.clear(); arguments[0].focus({ preventScroll: true }); return scrollY", pad)
    ActionChains(page.driver).send_keys(Keys.ARROW_LEFT * 7).send_keys(Keys.ARROW_UP * 7).perform()
    assert not page.pixels.any()
    keys = ActionChains(page.driver).send_keys(Keys.SPACE).send_keys(Keys.ARROW_RIGHT * 14).key_down(Keys.ARROW_LEFT)
    for _ in range(14):  # with both held down
        keys.key_up(Keys.ARROW_DOWN).key_down(Keys.ARROW_DOWN)
    keys.key_up(Keys.ARROW_DOWN).key_up(Keys.ARROW_LEFT).send_keys(Keys.SPACE).send_keys(Keys.ARROW_RIGHT * 5).perform()
    across, aslant = [[70 + 10 * k, 70] for k in range(15)], [[200 - 10 * k, 70 + 10 * k] for k in range(15)]
    assert np.array_equal(page.pixels, page.prepare([[*across, *aslant]]).ravel())
    assert page.script("return scrollY") == top


def arc(x, y, across, down, start, end):
    turns = np.radians(np.linspace(start, end, 24))
    return np.stack([x + across * np.cos(turns), y + down * np.sin(turns)], 1).tolist()


THREE = [arc(130, 90, 65, 50, 200, 450) + arc(130, 190, 75, 50, 270, 510)]
DIGITS = {
    "0": [arc(140, 140, 70, 100, 0, 360)],
    "1": [[[170, 40], [120, 240]]],
    "3": THREE,
    "4": [[[150, 40], [60, 170], [220, 170]], [[170, 100], [170, 250]]],
    "7": [[[60, 50], [220, 50], [110, 240]]],
}
UNLIKE = "unlike every training image"
STRANGE = {
    "cross": ([[[60, 60], [220, 220]], [[220, 60], [60, 220]]], UNLIKE),
    "A": ([[[60, 250], [140, 30], [220, 250]], [[90, 170], [190, 170]]], UNLIKE),
    "filled": ([[[40, y], [240, y]] for y in range(40, 250, 10)], "more ink than any test image"),
    "dot": ([[[140, 140]]], "less ink than any test image"),
}


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.3])
def test_a_small_drawing_gets_as_thin_a_line_as_a_large_one(page, scale):
    scaled = [[[scale * x + 5, scale * y + 9] for x, y in stroke] for stroke in THREE]
    np.testing.assert_allclose(page.prepare(scaled), page.prepare(THREE), atol=0.02)


def test_prepare_keeps_proportions_averages_what_a_pixel_covers_and_loses_nothing(page):
    image = page.prepare([[[100, 40], [100, 240]]])
    (height, width), centre = box_and_centre(image)
    assert (height, width) == (20, 3)
    assert np.abs(centre - 14).max() <= 0.5
    assert image[14][image[14] > 0] == pytest.approx([1, 1, 0.6], abs=0.02)  # 2.6 pixels wide
    # A heavy block with a long thin line: centred by mass, the line would leave the picture.
    image = page.prepare([[[20, y], [80, y]] for y in range(20, 260, 10)] + [[[80, 140], [260, 140]]])
    (_, width), centre = box_and_centre(image)
    assert width == 20
    assert image[:, 27].any()
    assert centre[1] < 13.5
    assert not page.prepare([]).any()


@pytest.fixture(scope="module")
def real(mnist, tmp_path_factory):
    """The page with real digits, and networks of which all are sure that whatever they see is an 8, or none is sure."""
    images, labels = load_raw(mnist, MNIST).train
    X, Y = flatten(normalize(images[:4000])), one_hot(labels[:4000])
    train, test = (X[:, :2000], Y[:, :2000]), (X[:, 2000:], Y[:, 2000:])
    addresses = {}
    for name, bias in {"sure": 9.0, "unsure": 0.0}.items():
        parameters = {name: value * 1e-3 for name, value in network(3).items()}
        parameters["b4"] = torch.zeros(10, 1)
        parameters["b4"][8] = bias
        networks = {key: one._replace(replicas=[parameters]) for key, one in NETWORKS.items()}
        made = record(networks, [0], train=train, test=test)
        addresses[name] = write(tmp_path_factory.mktemp("real") / f"{name}.html", made, train, test)
    return addresses


@pytest.mark.parametrize(
    ("kind", "who"), [("sure", "Of 4 networks 4 are sure: 4 say “8”."), ("unsure", "No network is sure.")]
)
def test_what_is_no_digit_is_said_to_look_like_none_however_sure_the_networks_are(driver, real, kind, who):
    page = Lab(driver, real[kind])

    def said(strokes):
        page.script("playground.show(playground.prepare(arguments[0]))", strokes)
        return page.status

    strange = {name: f"This looks like no digit: {why}. {who}" for name, (_, why) in STRANGE.items()}
    assert {name: said(strokes) for name, (strokes, _) in STRANGE.items()} == strange
    assert {name: said(strokes) for name, strokes in DIGITS.items()} == dict.fromkeys(DIGITS, who)


def test_similarity_is_the_cosine_of_the_blurred_pictures_and_most_test_images_are_ordinary(page, packed):
    ours = TEST[0][:, :100]
    said = page.script("return arguments[0].map((pixels) => playground.similarity(pixels))", ours.T.tolist())

    def blurred(X):
        padded = np.pad(X.T.reshape(-1, 28, 28), ((0, 0), (1, 1), (1, 1)))
        blurs = sum(padded[:, y : y + 28, x : x + 28] for y in range(3) for x in range(3)).reshape(-1, 784)
        return blurs / np.linalg.norm(blurs, axis=1, keepdims=True)

    cosines = blurred((TRAIN[0] * 15).round().numpy()) @ blurred(ours.numpy()).T
    np.testing.assert_allclose(said, cosines.max(0), atol=1e-5)
    assert 0.85 <= np.mean(np.array(said) >= packed["ordinary"]["similarity"]) <= 1
    least, most = packed["ordinary"]["ink"]
    ink = TEST[0].sum(0)
    assert least <= ink.min() < least + 1
    assert most - 1 < ink.max() <= most


def test_layers_show_the_activations_before_batch_norm_on_one_log_scale(page, packed):
    """A network a thousand times as large stands three decades higher; another seed shows other networks."""
    reduced = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [reduced]})
    page.click(".layers summary")
    page.click(".seeds label:last-child")
    low, high = packed["decades"]
    for key in NETWORKS:
        heights = page.script(
            """const share = (unit) => parseFloat(getComputedStyle(unit, "::after").height) / unit.clientHeight;
            const rows = document.querySelectorAll(`#playground [data-key=${arguments[0]}] .units`);
            return [...rows].map((row) => [...row.children].map(share));""",
            key,
        )
        for values, shown in zip(page.forward(key, 2)["activations"], heights, strict=True):
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(shown, np.clip((np.log10(values) - low) / (high - low), 0, 1), atol=0.02)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    largest = max(max(page.forward(key, k)["activations"][0]) for key, k in ALIVE)
    assert largest <= 10**high


def lost():
    return {name: value * torch.nan for name, value in network(4).items()}


OTHERS = {
    "all diverged": ({"lost": Networks("4 batch norm", [None], "relu", "exact")}, [0], THE_STUDYS),
    "diverged though it is not said": ({"lost": Networks("4 batch norm", [lost()], "relu", "exact")}, [0], THE_STUDYS),
    "none": ({}, [0], THE_STUDYS),
    "no hidden layer": ({"a": Networks("1 plain", [network(1, 1, [784, 10])], "relu", "exact")}, [5], [784, 10]),
    "many layers": (
        {"a": Networks("2 batch norm", [network(1, 1, [784, *[6] * 8, 10])], "relu", "exact")},
        [5],
        [784, *[6] * 8, 10],
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_networks_and_none(driver, tmp_path, case):
    networks, seeds, layers_dims = OTHERS[case]
    packed = record(networks, seeds, layers_dims)
    json.dumps(packed, allow_nan=False)
    assert packed["disagreements"] == 0
    page = Lab(driver, write(tmp_path / "page.html", packed))
    page.click(".layers summary")
    page.draw(SEVEN)
    if "diverged" in case:
        assert [[text for text, _ in row] for row in page.answers] == [["diverged"]]
        assert page.status == "All of these networks diverged."
    elif networks:
        assert page.answers[0][0][0][0].isdigit()
        assert len(page.find_all("article .layer")) == len(layers_dims) - 2
    assert not {"NaN", "undefined", "null", "Infinity"} & set(page.find("").text.split())
    assert driver.get_log("browser") == []


def test_record_is_small_plain_and_the_same_every_time(packed):
    text = json.dumps(packed, allow_nan=False)
    assert len(text) < 25_000 * len(ALIVE)
    networks = {  # their numbers in another order, as a file may have them
        key: one._replace(replicas=[replica and dict(sorted(replica.items())) for replica in one.replicas])
        for key, one in NETWORKS.items()
    }
    assert text == json.dumps(record(networks))


def test_scarce_digits_give_what_they_have():
    test = torch.zeros(784, 3), torch.eye(10)[:, [4, 4, 7]]
    packed = playground_data(THE_STUDYS, {}, [0], TRAIN[0], *test, samples=2)
    assert [image["label"] for image in packed["images"]] == [4, 7, 4]
    assert packed["opens"] == 0
