"""The report's roulette: its shares against every possible draw, and the lab in a real browser."""

import json
import re
from collections import Counter
from itertools import product
from math import isnan, nan
from statistics import mean

import pytest
from lab_page import LabPage, write_page
from selenium.webdriver import Keys

from stages.reporting.labs.roulette import Experiment, roulette_data

TABLES = {
    "four": {"a": [0.91, 0.92, 0.9], "b": [0.93, nan, 0.92], "c": [0.94, 0.9, 0.92], "d": [0.89, 0.9, 0.1]},
    "one replica": {"a": [0.91], "b": [0.93], "c": [0.94], "d": [0.89]},
    "diverged": {"a": [nan, nan], "b": [nan, nan]},
    "two": {"b": [0.9, 0.8], "a": [0.9, 0.95, nan]},
    "alike": {"a": [0.9, 0.8], "b": [0.8, 0.9]},
}


def record(table, others=None, **options):
    experiments = {
        key: Experiment(f"{key} <plain>", "var(--blue)", values, 0.905 if key == "a" else None)
        for key, values in table.items()
    }
    return roulette_data(experiments, others, **options)


def named(means):
    """The keys with the highest mean."""
    finite = {key: value for key, value in means.items() if value is not None}
    return [key for key, value in finite.items() if value > max(finite.values()) - 1e-9]


def mean_of(runs):
    return None if any(map(isnan, runs)) else mean(runs)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("runs", [1, 2])
def test_shares_are_those_of_all_studies(name, runs):
    table, counted = TABLES[name], Counter()
    for study in product(*(list(product(values, repeat=runs)) for values in table.values())):
        best = named({key: mean_of(drawn) for key, drawn in zip(table, study, strict=True)})
        counted["studies"] += 1
        for key in best:
            counted[key] += 1 / len(best)
    expected = [counted[key] / counted["studies"] for key in table]
    found = record(table, most_runs=2)["studies"][runs - 1]
    assert found == pytest.approx(expected, abs=6e-5 if runs == 1 else 0.02)


def test_more_runs_name_the_best_more_often():
    shares = [row[2] for row in record(TABLES["four"])["studies"]]
    assert len(shares) == 30
    assert shares[0] < shares[9] < shares[29]


def test_record_is_plain_and_the_same_every_time():
    made = record(TABLES["four"], {"another": "b"})
    assert json.dumps(made, allow_nan=False) == json.dumps(record(TABLES["four"], {"another": "b"}))
    assert made["experiments"][1]["accuracies"] == [0.93, None, 0.92]
    assert (made["best"], made["others"]) == ("c", [["another", "b"]])
    assert [record(TABLES[name])["best"] for name in ("diverged", "alike")] == [None, None]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roulette")
    others = {"another": "b", "a third": "dropout"}
    return {
        name: write_page(folder / f"{i}.html", "roulette", roulette=record(table, others if name == "four" else None))
        for i, (name, table) in enumerate(TABLES.items())
    }


@pytest.fixture
def opened(driver, addresses):
    """Opens a page, without motion; afterwards nothing may stand in the console."""
    reduced = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [reduced]})
    yield lambda name="four", state="": LabPage(driver, addresses[name] + state, "roulette")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert driver.get_log("browser") == []


def drawn(page):
    """Of each experiment the accuracies of the last study, as its picture says them."""
    rows = page.script("""return [...document.querySelectorAll("#roulette .row")].map((row) =>
      [row.dataset.key, row.querySelector("svg").getAttribute("aria-label").split("drawn")[1] ?? ""])""")
    return {key: [float(share) for share in re.findall(r"[\d.]+(?=\s%)", said)] for key, said in rows}


def tally(page):
    return [int(cell.text.split(" of ")[0]) for cell in page.find_all(".tally")]


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("press", ["click", "touch"])
def test_a_study_names_the_highest_mean_of_what_it_has_drawn(opened, runs, press):
    page = opened(state=f"#roulette?n={runs}&seed=4")
    for _ in range(5):
        getattr(page, press)(".main")
        accuracies = drawn(page)
        assert {len(values) for key, values in accuracies.items() if key != "b"} == {runs}  # a run of b diverged
        assert all(set(values) <= {100 * x for x in TABLES["four"][key]} for key, values in accuracies.items())
        best = named({key: mean(values) if len(values) == runs else None for key, values in accuracies.items()})
        (row,) = page.find_all(".row.named")
        assert row.get_attribute("data-key") in best


def test_many_draws_are_counted_and_their_address_gives_the_same(opened):
    page = opened(state="#roulette?n=2&seed=7")
    page.click("[data-times='100']")
    page.click("[data-times='10']")
    counts = tally(page)
    assert sum(counts) == 110
    assert page.status == f"{counts[2]} of 110 studies name c <plain>, the best over all our runs."
    shares = record(TABLES["four"])["studies"][1]
    assert [count / 110 for count in counts] == pytest.approx(shares, abs=0.15)
    state = page.script("return location.hash")
    assert state == "#roulette?n=2&seed=7&draws=110"
    assert tally(opened(state=state)) == counts
    page.click(".clear")
    assert tally(page) == [0, 0, 0, 0]
    assert "draws" not in page.script("return location.hash")


def test_draws_are_shown_one_by_one_where_motion_is_welcome(opened, driver):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    page = opened(state="#roulette?seed=7")
    page.click("[data-times='100']")
    assert page.status == "Drawing."
    page.until(lambda: "of 100 studies" in page.status)


def test_slider_and_number_choose_the_runs(opened):
    page, studies = opened(), record(TABLES["four"])["studies"]
    page.find("[name=runs]").send_keys(Keys.ARROW_RIGHT * 4)
    for runs, number in (5, "12"), (12, "99"), (12, ""):
        share = f"{100 * studies[runs - 1][2]:.0f} %"
        assert page.text(".answer").startswith(f"With {runs} runs of each, {share} of such studies name c <plain>, ")
        page.find("[name=exact]").send_keys(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE + number + Keys.TAB)
    assert page.find("[name=exact]").get_attribute("value") == "12"


def test_every_run_is_a_dot_where_its_accuracy_is_and_the_studys_a_diamond(opened):
    page = opened()
    low, high = 0.1 - 0.84 * 0.03, 0.94 + 0.84 * 0.03
    for key, shares in TABLES["four"].items():
        places = page.script(
            "const dots = document.querySelectorAll(`[data-key=${arguments[0]}] .dot`);"
            "return [...dots].map((dot) => parseFloat(dot.getAttribute('cx')))",
            key,
        )
        assert places == pytest.approx([100 * (x - low) / (high - low) for x in shares if not isnan(x)])
        assert len(page.find_all(f"[data-key={key}] .published")) == (key == "a")


def test_what_others_name_stands_beside_where_there_are_any(opened):
    assert [one.text for one in opened().find_all(".others li")] == ["another: b <plain>", "a third: dropout"]
    assert not opened("two").find(".elsewhere").is_displayed()


@pytest.mark.parametrize("name", ["diverged", "alike"])
def test_without_a_best_nothing_is_named(opened, name):
    page = opened(name)
    assert page.text(".answer") == "No experiment is the best alone over all our runs."
    page.click(".main")
    if name == "diverged":
        assert page.status == "A run of every experiment diverged: nothing to name."
        assert [cell.text for cell in page.find_all(".mean")] == ["diverged"] * 2


@pytest.mark.parametrize("state", ["n=0&seed=-1&draws=x", "n=31", "%E0%A4%A", "n=2e1", "?"])
def test_nonsense_in_the_address_opens_the_default(opened, state):
    page = opened(state=f"#roulette?{state}")
    assert page.text(".answer").startswith("With 1 run of each")
    assert page.status == "Nothing is drawn yet."
