"""How fast the report's lab trains in a browser: python -m benchmarks.lab [--rounds N]

Opens the committed page in headless Chromium, lets the lab train as it is, and writes the table lab.md.
"""

from __future__ import annotations

import argparse
import shutil
import time

from selenium import webdriver

from benchmarks.common import FOLDER, cpu, markdown, spread, warn_if_busy
from nnlib.data.files import write_text

PAGE = (FOLDER.parent / "reports" / "report.html").as_uri()
STEPS = (5_000, 20_000)
REACHED = """const [steps, done] = arguments;
const look = () => (explosion.points.at(-1)?.step >= steps ? done() : setTimeout(look, 20));
look();"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warn_if_busy()
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), "")
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(option)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        trained = [train(browser) for _ in range(rounds)]
        version = browser.capabilities["browserVersion"]
    rows = []
    for steps, seconds in zip(STEPS, zip(*(times for times, _ in trained), strict=True), strict=True):
        rate = spread([steps / second for second in seconds])
        rows.append((f"{steps:,}", f"{spread(seconds)[0]:.1f}", *(f"{value:,.0f}" for value in rate)))
    growth = spread([grown for _, grown in trained])[0]
    text = (
        f"The page's lab as it opens, in Chromium {version.partition('.')[0]}: medians of {rounds} rounds. Σ W² after "
        f"{STEPS[-1]:,} steps is {growth:,.0f} times what it was. {cpu()}.\n\n"
        + markdown(("steps", "seconds", "steps per second", "slowest", "fastest"), rows)
    )
    write_text(FOLDER / "lab.md", text)
    print(text)


def train(browser: webdriver.Chrome) -> tuple[list[float], float]:
    """The seconds until the lab has made so many steps, and how many times Σ W² has grown."""
    browser.get(PAGE)
    browser.set_script_timeout(300)
    browser.execute_async_script(REACHED, 0)
    start, seconds = time.perf_counter(), []
    browser.execute_script("document.querySelector('#explosion .start').click()")
    for steps in STEPS:
        browser.execute_async_script(REACHED, steps)
        seconds.append(time.perf_counter() - start)
    first, last = browser.execute_script("return [0, -1].map((i) => explosion.points.at(i).sumSquaredWeights)")
    return seconds, last / first


if __name__ == "__main__":
    main()
