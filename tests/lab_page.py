"""Pages with the report's labs alone, made from their templates in the page's style, and what tests do with them."""

from __future__ import annotations

from typing import Any

from selenium.webdriver.common.action_chains import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from stages.reporting.colours import variables
from stages.reporting.formats import environment

HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Labs</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>%s</style></head>
<body><main><h1>Labs</h1>%s</main></body></html>"""


def write_page(path, *labs: str, **context: Any) -> str:
    """A page with these labs; its address."""
    templates, context = environment(), {"digits": {}} | context
    body = "\n".join(templates.get_template(f"labs/{lab}.html.j2").render(context) for lab in ("shared", *labs))
    style = templates.get_template("style.css").render(variables=variables)
    path.write_text(HTML % (style, body), encoding="utf-8")
    return path.as_uri()


class LabPage:
    """A page with one lab in a browser."""

    def __init__(self, driver, address: str, lab: str):
        self.driver, self.lab = driver, lab
        driver.get("about:blank")  # so that another state in the address is another page
        driver.get(address)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, f"#{self.lab} {selector}")

    def find_all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, f"#{self.lab} {selector}")

    def text(self, selector):
        """Its text, in sight or not."""
        return " ".join(self.find(selector).get_attribute("textContent").split())

    @property
    def status(self):
        return self.text("[role=status]")

    def script(self, source, *arguments):
        return self.driver.execute_script(source, *arguments)

    def until(self, true):
        WebDriverWait(self.driver, 60, poll_frequency=0.05).until(lambda _: true())

    def in_view(self, element):
        self.script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", element)
        return element

    def click(self, selector):
        self.in_view(self.find(selector)).click()

    def touch(self, selector):
        element = self.in_view(self.find(selector))
        finger = ActionBuilder(self.driver, mouse=PointerInput("touch", "finger"))
        finger.pointer_action.move_to(element).pointer_down().pointer_up()
        finger.perform()

    def saved_and_opened(self, path):
        """The page as it stands, saved as a file and opened again."""
        html = self.script("return '<!doctype html>' + document.documentElement.outerHTML")
        path.write_text(html, encoding="utf-8")
        return type(self)(self.driver, path.as_uri(), self.lab)
