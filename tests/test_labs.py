"""What all labs of the page have in common: they fit, tell what they cannot do, keep their state in the address."""

import re
import shutil
from itertools import product

import pytest
import test_explosion
import test_playground
import test_roulette
from lab_page import LabPage, write_page
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys

from stages.reporting.labs.digits import digits_data

LABS = ["roulette", "explosion", "playground"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write_page(
        tmp_path_factory.mktemp("labs") / "page.html",
        *LABS,
        digits=digits_data(test_explosion.TRAIN, test_explosion.TEST),
        roulette=test_roulette.record(test_roulette.TABLES["four"], {"another": "b"}),
        explosion=test_explosion.record(),
        playground=test_playground.record(),
        **{f"{lab}_still": f"A picture of the {lab}." for lab in LABS},
    )


def used(driver, address, state=""):
    """The page with every lab used and everything unfolded."""
    page = LabPage(driver, address + state, "explosion")
    page.script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.in_view(page.find(".start"))
    page.until(lambda: page.find(".start").is_enabled())
    page.click(".start")
    page.until(lambda: "200" in page.text(".progress"))
    page.click(".start")
    page.until(lambda: "Paused at" in page.status)
    page.script("document.querySelector('#roulette .main').click()")
    page.until(lambda: page.script("return Boolean(window.playground?.forward)"))
    return page


@pytest.fixture
def page(driver, address):
    yield used(driver, address)
    assert driver.get_log("browser") == []


MEASURES = """
const shown = [...document.querySelectorAll(".lab *")].filter((node) => node.checkVisibility());
const texts = shown.filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) &&
  !["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(node.tagName));
const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  const colour = getComputedStyle(node).backgroundColor;
  return colour !== "rgba(0, 0, 0, 0)" ? colour : behind(node.parentElement);
};
const contrast = (node) => {
  const style = getComputedStyle(node), ink = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
  const [dark, light] = [luminance(ink), luminance(behind(node))].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const told = (node) => `${node.tagName} ${node.textContent.slice(0, 40)}`;
return {
  overflow: Math.max(0, document.documentElement.scrollWidth - innerWidth),
  small: texts.filter((node) => parseFloat(getComputedStyle(node).fontSize) < 11).map(told),
  faint: texts.filter((node) => contrast(node) < 4.5).map(told),
  tight: shown.filter((node) => node.matches("button, select, summary, input, a, [tabindex]")).filter((node) => {
    const { width, height } = node.getBoundingClientRect();
    return Math.min(width, height) < 24;
  }).map((node) => node.outerHTML.slice(0, 60)),
  texts: texts.length,
};"""


@pytest.mark.usefixtures("as_before")
def test_fits_and_can_be_read_and_pressed_at_any_width(page):
    for scheme, width in product(("light", "dark"), (360, 768, 1280, 1920)):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        found = page.script(MEASURES)
        assert found.pop("texts") > 100
        assert found == {"overflow": 0, "small": [], "faint": [], "tight": []}, (scheme, width)


@pytest.mark.usefixtures("as_before")
def test_without_javascript_and_in_print_the_figure_stands_for_the_lab(driver, address):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = LabPage(driver, address, "explosion")
        assert page.text(".still") == "A picture of the explosion.This lab needs JavaScript."
        assert not page.find(".stage").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    page = LabPage(driver, address, "explosion")
    for media, still in ("screen", False), ("print", True):
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
        shown = [page.find(part).is_displayed() for part in (".still", ".stage")]
        assert shown == [still, not still]


@pytest.mark.usefixtures("as_before")
def test_bars_are_seen_in_forced_colours(page):
    features = [{"name": "forced-colors", "value": "active"}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    bars = page.script("""return ["#roulette .gauge::before", "#explosion .gauge::after", "#playground .gauge::after",
      "#playground .unit::after"].map((selector) => {
        const [node, part] = selector.split("::"), bar = document.querySelector(node);
        return [getComputedStyle(bar, `::${part}`).backgroundColor, getComputedStyle(document.body).backgroundColor];
      })""")
    assert all(bar not in (ground, "rgba(0, 0, 0, 0)") for bar, ground in bars)


def test_saved_by_the_browser_and_opened_again_every_lab_is_there_once_and_works(page, tmp_path):
    before = markup(page)
    page.saved_and_opened(tmp_path / "saved.html")
    saved = used(page.driver, page.script("return location.href.split('#')[0]"))
    assert markup(saved) == before


def markup(page):
    """The elements of each lab, in order, without what chance and time put into them."""
    script = "return arguments[0].map((lab) => document.querySelector(`#${lab} .stage`).outerHTML)"
    labs = page.script(script, LABS)
    return [re.findall(r"<(?!circle|rect|line|path|text|svg)[\w-]+", html) for html in labs]


def test_the_link_is_copied_and_shown_and_opens_the_same_state(driver, address):
    page = LabPage(driver, f"{address}#explosion?seed=3&rule=exact", "explosion")
    page.until(lambda: page.script("return scrollY") > 0)
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions})
    page.click("[data-link]")
    page.until(lambda: page.text("[data-link]") == "Link copied")
    copied = driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == page.script("return location.href") == f"{address}#explosion?rule=exact&seed=3"
    page.script("location.hash = 'explosion?seed=4'")  # as a link in the text does
    page.until(lambda: page.find("[name=seed]").get_attribute("value") == "4")
    assert page.find("[name=rule]").get_attribute("value") == "both"
    page.script("navigator.clipboard.writeText = () => Promise.reject()")
    page.click("[data-link]")
    page.until(lambda: page.text("[data-link]") == "The link is in the address bar")


@pytest.mark.usefixtures("as_before")
def test_presented_it_fills_the_screen_in_large_type_and_keys_drive_it(page):
    metrics = {"width": 1920, "height": 1080, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for lab in LABS:
        page.lab = lab
        page.click(".present")
        page.until(lambda: page.script("return document.fullscreenElement?.id") == page.lab)
        smallest, height = page.script(
            """const lab = document.querySelector(`#${arguments[0]}`);
            const shown = [...lab.querySelectorAll(".stage *")].filter((node) => node.checkVisibility());
            const size = (node) => (node.innerHTML ? parseFloat(getComputedStyle(node).fontSize) : Infinity);
            return [Math.min(...shown.map(size)), lab.scrollHeight];""",
            lab,
        )
        assert smallest > 20
        assert height <= 1080
        before = page.status
        ActionChains(page.driver).send_keys(Keys.PAGE_DOWN).perform()
        page.until(lambda: page.status != before)  # noqa: B023
        ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()
        page.until(lambda: not page.script("return document.querySelectorAll('.presented').length"))


def test_nothing_is_loaded(page):
    names = page.script("return performance.getEntriesByType('resource').map(({ name }) => name)")
    assert [name for name in names if not name.startswith("blob:")] == []


def test_firefox_runs_the_labs(address):
    firefox, geckodriver = shutil.which("firefox") or shutil.which("firefox-esr"), shutil.which("geckodriver")
    if not (firefox and geckodriver):
        pytest.skip("needs firefox and geckodriver on the PATH")
    options = webdriver.FirefoxOptions()
    options.binary_location = firefox
    options.add_argument("-headless")
    driver = webdriver.Firefox(options=options, service=webdriver.FirefoxService(geckodriver))
    try:
        page = used(driver, address, "#roulette?n=3&seed=7&draws=20")
        assert len(page.find_all(".curve")) == 6
        said = {}
        for page.lab in LABS:
            said[page.lab] = page.status
        assert re.fullmatch(r"\d+ of 21 studies name b <plain>, the best over all our runs\.", said["roulette"])
        assert said["explosion"].startswith("Paused at step")
        assert said["playground"].startswith("A test image of a")
    finally:
        driver.quit()
