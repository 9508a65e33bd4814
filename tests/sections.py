"""Sections of the report's page by themselves, as a browser shows them, and what tests do with them."""

import re

from pipeline import REPOSITORY
from selenium.webdriver.common.action_chains import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.support.wait import WebDriverWait

from stages.reporting.colours import variables
from stages.reporting.formats import environment

TEMPLATES = REPOSITORY / "stages" / "reporting" / "templates"
STYLE = re.search(r"<style>.*?</style>", (TEMPLATES / "report.html.j2").read_text(encoding="utf-8"), re.DOTALL)[0]
HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Section</title>
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">{}</head><body><main>{}</main></body></html>"""


def write_page(path, *templates, **context):
    """A page of these templates, with the report's own style; its address."""
    body = "\n".join(environment().get_template(template).render(**context) for template in templates)
    path.write_text(HTML.format(environment().from_string(STYLE).render(variables=variables), body), encoding="utf-8")
    return path.as_uri()


def unpacked(page):
    """The page, once its networks are there; before, `playground` is but the section of that id."""
    WebDriverWait(page, 30, 0.05).until(lambda _: page.execute_script("return Boolean(playground.forward)"))
    return page


def in_view(page, element):
    page.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", element)
    return element


def touch(page, element):
    in_view(page, element)
    finger = ActionBuilder(page, mouse=PointerInput("touch", "finger"))
    finger.pointer_action.move_to(element).pointer_down().pointer_up()
    finger.perform()


CONTRASTS = """
const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map((part) => part / 255)
  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  const colour = getComputedStyle(node).backgroundColor;
  return colour !== "rgba(0, 0, 0, 0)" ? colour : behind(node.parentElement);
};
return [...document.querySelectorAll(`${arguments[0]} *`)]
  .filter((node) => node.checkVisibility())
  .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
  .filter((node) => !["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName))
  .map((node) => {
    const style = getComputedStyle(node), ink = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [dark, light] = [luminance(ink), luminance(behind(node))].sort((a, b) => a - b);
    return [(light + 0.05) / (dark + 0.05), node.textContent];
  });"""


def show(page, width, scheme):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def assert_fits_and_can_be_read(page, section, width):
    """Nothing is wider than the window, and all text stands out from what is behind it, 4.5 to 1."""
    wide, inner = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner == width
    contrasts = page.execute_script(CONTRASTS, section)
    assert len(contrasts) > 15
    assert [said for said in contrasts if said[0] < 4.5] == []
