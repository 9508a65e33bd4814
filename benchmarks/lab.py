"""How fast the report's lab trains in a browser: python -m benchmarks.lab [--rounds N] [--page FILE]

Opens the page, the committed one if no other is given, in headless Chromium, lets the lab train as it is, two networks
side by side and one alone, and writes the table lab.md.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from selenium import webdriver

from benchmarks.common import FOLDER, cpu, markdown, spread, warn_if_busy
from nnlib.data.files import write_text

PAGE = FOLDER.parent / "reports" / "report.html"
STEPS = 10_000
NETWORKS = {"both": "two side by side", "straight_through": "derivative left out", "exact": "true derivative"}
REACHED = """const [steps, done] = arguments;
const wait = () => (Object.values(explosion.points).every((points) => points.at(-1)?.step >= steps)
  ? done() : setTimeout(wait, 20));
wait();"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    warn_if_busy()
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), "")
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(option)
    page = arguments.page.resolve().as_uri()
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        version = browser.capabilities["browserVersion"]
        # All take turns, so that a busy moment meets all alike.
        rounds = [{rule: train(browser, page, rule) for rule in NETWORKS} for _ in range(arguments.rounds)]
    rows = [
        (name, *(f"{rate:,.0f}" for rate in spread([STEPS / seconds[rule] for seconds in rounds])))
        for rule, name in NETWORKS.items()
    ]
    text = (
        f"The page's lab in Chromium {version.partition('.')[0]}: steps a second of each network over its first "
        f"{STEPS:,} steps, medians of {arguments.rounds} rounds. {cpu()}.\n\n"
        + markdown(("networks", "steps per second", "slowest", "fastest"), rows)
    )
    write_text(FOLDER / "lab.md", text)
    print(text)


def train(browser: webdriver.Chrome, page: str, rule: str) -> float:
    """The seconds until every network has made so many steps."""
    browser.get("about:blank")
    browser.get(f"{page}#explosion?rule={rule}")
    browser.set_script_timeout(300)
    browser.execute_async_script(REACHED, 0)
    start = time.perf_counter()
    browser.execute_script("document.querySelector('#explosion .start').click()")
    browser.execute_async_script(REACHED, STEPS)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
