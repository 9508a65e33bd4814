"""The report as a reader opens it: a page from disk, in a real browser, on a desk and on a phone."""

import json
import re

import pytest
from pipeline import REPOSITORY
from selenium.webdriver.support.wait import WebDriverWait

from stages.reporting.catalogue import CATALOGUE
from stages.yaml_files import read_yaml

PLOTS = len(read_yaml(REPOSITORY / "dvc.yaml")["plots"])


@pytest.fixture(
    scope="module",
    params=[(1200, "light"), (1200, "dark"), (360, "light"), (360, "dark")],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def page(request, driver, finished):
    """The report of the pipeline in small at a width and in a colour scheme, which no test changes; the console must
    stay empty."""
    width, scheme = request.param
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.get((finished.folder / "reports" / "report.html").as_uri())
    yield driver
    assert driver.get_log("browser") == []
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def opened(page):
    """With all that is folded away."""
    fold = "for (const details of document.querySelectorAll('details')) details.open = arguments[0]"
    page.execute_script(fold, True)
    yield page
    page.execute_script(fold, False)


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue))
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_nothing_is_wider_than_the_page(page):
    wide, inner = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= inner


def test_text_stands_out_from_the_page(page):
    colours = page.execute_script("""
        const paper = getComputedStyle(document.body).backgroundColor
        return [...document.querySelectorAll("p, td, th, li, .verdict, figcaption, a, h2")]
            .map(element => [getComputedStyle(element).color, paper])""")
    for ink, paper in {tuple(pair) for pair in colours}:
        light, dark = sorted([luminance(ink), luminance(paper)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {paper}"


def test_every_link_and_figure_is_there(page):
    missing = page.execute_script("""
        return [...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute("href"))
            .filter(href => !document.querySelector(href))""")
    assert missing == []
    names = page.execute_script("return [...document.querySelectorAll('figure[id^=figure-]')].map(e => e.id)")
    assert {*names} == {f"figure-{name}" for name in CATALOGUE}
    ids = page.execute_script("return [...document.querySelectorAll('[id]:not(svg [id])')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_no_letter_of_a_figure_is_cut_off(opened):
    cut = opened.execute_script("""
        const seen = [...document.querySelectorAll("figure[id^=figure-] > svg")].filter((svg) => svg.checkVisibility())
        return seen.flatMap((svg) => {
          const frame = svg.getBoundingClientRect();
          return [...svg.querySelectorAll("text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom;
          }).map((text) => text.textContent);
        });""")
    assert cut == []


def test_no_line_ends_between_a_number_and_its_percent_sign(finished):
    page = (finished.folder / "reports" / "report.html").read_text(encoding="utf-8")
    assert re.search(r"\d\u00a0%", page)
    assert not re.search(r"\d %", page)


def test_the_page_is_under_two_megabytes(finished):
    assert (finished.folder / "reports" / "report.html").stat().st_size < 2_000_000


def test_no_letter_is_smaller_than_11_pixels(opened):
    small = opened.execute_script("""
        const scale = (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width
        const size = (element) => parseFloat(getComputedStyle(element).fontSize)
        return [...document.querySelectorAll("body *:not(script, style, desc)")].filter((element) => {
          const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
          const svg = element.closest("figure[id^=figure-] > svg")
          return own && element.checkVisibility() && size(element) * (svg ? scale(svg) : 1) < 10.99
        }).map((element) => [element.tagName, element.textContent.trim().slice(0, 30), size(element)])""")
    assert small == []


def test_nothing_to_press_is_under_24_pixels(page):
    small = page.execute_script("""
        return [...document.querySelectorAll("a, button, summary, input, select")].filter((element) => {
          const box = element.getBoundingClientRect()
          return box.height && Math.round(box.height) < 24 && !element.closest("p, li, .skip")
        }).map((element) => element.outerHTML.slice(0, 80))""")
    assert small == []


def test_the_page_is_short_as_it_opens(page):
    width, height, whole = page.execute_script(
        "return [innerWidth, innerHeight, document.documentElement.scrollHeight]"
    )
    assert whole / height <= (28 * 740 / 800 if width < 600 else 14)


def test_the_page_asks_nothing_of_the_network(page):
    asked = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if not name.startswith(("data:", "blob:"))] == []


def test_the_networks_of_the_page_are_the_trained_ones_with_batch_norm_on_the_test_set(page, finished):
    """But for the rounding of the first layer."""
    import torch

    from nnlib import Run, l_model_forward
    from nnlib.data.files import load_tensors

    WebDriverWait(page, 30, 0.05).until(lambda _: page.execute_script("return Boolean(playground.forward)"))
    X = load_tensors(finished.folder / "data/processed/mnist.safetensors")["X_test"].double()
    for key, batchnorm in {"experiment-3": "none", "2-exact": "exact"}.items():
        run = Run.from_tensors(load_tensors(finished.folder / f"data/models/{key}.safetensors"))
        for replica in range(run.replicas):
            one = {name: value[replica].double() for name, value in run.parameters.items()}
            expected, _ = l_model_forward(X, one, batchnorm)
            for column in range(5):
                said = page.execute_script(
                    "return Array.from(playground.forward(arguments[0], arguments[1], arguments[2]).probabilities)",
                    key,
                    X[:, column].tolist(),
                    replica,
                )
                assert torch.tensor(said, dtype=torch.float64) == pytest.approx(expected[:, column].numpy(), abs=0.05)


@pytest.fixture
def another_tab(driver):
    """`page` may be open in the first."""
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    yield driver
    driver.close()
    driver.switch_to.window(first)


def test_plots_draw_offline(another_tab, finished):
    finished.dvc("plots", "show", "--out", "plots")
    another_tab.get((finished.folder / "plots" / "index.html").as_uri())
    plots = "return document.querySelectorAll('canvas, svg.marks').length"
    WebDriverWait(another_tab, 60, 0.05).until(lambda page: page.execute_script(plots) == PLOTS)
    errors = [entry for entry in another_tab.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == [], json.dumps(errors)
