"""The report's seed roulette: its counts against every combination, and in a real browser."""

import json
import random
from collections import Counter
from itertools import product
from math import inf, isnan, nan

import pytest
from sections import assert_fits_and_can_be_read, in_view, show, touch, write_page
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from stages.reporting.colours import variable
from stages.reporting.labels import LABELS
from stages.reporting.labs.roulette import roulette_data

FOUR = list(LABELS)[:4]
TABLES = {
    "four": dict(zip(FOUR, ([0.91, 0.92, 0.9], [0.93, nan, 0.92], [0.94, 0.9, 0.92], [0.89, 0.9, 0.1]), strict=True)),
    "one replica": dict(zip(FOUR, ([0.91], [0.93], [0.94], [0.89]), strict=True)),
    "diverged": {key: [nan, nan] for key in FOUR},
    "two": {"experiment-4-exact": [0.9, 0.8], "experiment-1": [0.9, 0.95]},
}
SHARES = [("L2 <helps>", 0.87), ("Batch norm does not", 0.125)]


@pytest.mark.parametrize("name", TABLES)
def test_counts_are_those_of_all_combinations(name):
    table, counted = TABLES[name], Counter()
    for hand in product(*table.values()):
        shares = [-inf if isnan(share) else share for share in hand]
        best = [key for key, share in zip(table, shares, strict=True) if share == max(shares) > -inf]
        counted[best[0] if len(best) == 1 else "tie" if best else "none"] += 1
    record = roulette_data(table)
    assert {one["key"]: one["wins"] for one in record["experiments"]} == {key: counted[key] for key in table}
    assert record["ties"] == counted["tie"]
    assert record["combinations"] == counted.total()


def test_counts_are_exact_where_combinations_are_too_many_to_list():
    chance = random.Random(0)
    record = roulette_data({key: [chance.randrange(10_000) / 1e4 for _ in range(500)] for key in FOUR})
    assert record["combinations"] == 500**4
    wins = [one["wins"] for one in record["experiments"]]
    assert sum(wins) + record["ties"] == 500**4
    assert all(win / 500**4 == pytest.approx(0.25, abs=0.05) for win in wins)


def test_record_is_plain_and_has_labels_and_colours():
    record = roulette_data(TABLES["four"])
    json.dumps(record, allow_nan=False)
    wanted = [(LABELS[key].text, variable(LABELS[key].colour)) for key in FOUR]
    assert [(one["label"], one["colour"]) for one in record["experiments"]] == wanted
    assert record["experiments"][1]["accuracies"] == [0.93, None, 0.92]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roulette")
    pages = {
        name: write_page(folder / f"{i}.html", "roulette.html.j2", roulette=roulette_data(table))
        for i, (name, table) in enumerate(TABLES.items())
    }
    record = roulette_data(TABLES["four"])
    pages["shares"] = write_page(folder / "s.html", "roulette.html.j2", roulette=record, published_shares=SHARES)
    return pages


@pytest.fixture
def opened(driver, addresses):
    """Opens a page; afterwards nothing may stand in the console."""

    def opened(name="one replica"):
        driver.get(addresses[name])
        return driver

    yield opened
    assert driver.get_log("browser") == []


def find(page, selector):
    return page.find_element(By.CSS_SELECTOR, f"#roulette {selector}")


def find_all(page, selector):
    return page.find_elements(By.CSS_SELECTOR, f"#roulette {selector}")


def click(page, selector):
    in_view(page, find(page, selector)).click()


def by_mouse(page, selector):
    click(page, selector)


def by_keys(page, selector):
    for _ in range(12):
        if page.switch_to.active_element == find(page, selector):
            ActionChains(page).send_keys(Keys.ENTER).perform()
            return
        ActionChains(page).send_keys(Keys.TAB).perform()
    page.execute_script("document.activeElement.blur(); getSelection().removeAllRanges()")
    by_keys(page, selector)


def by_touch(page, selector):
    touch(page, find(page, selector))


@pytest.mark.parametrize("press", [by_mouse, by_keys, by_touch])
def test_draw_choose_and_reveal(opened, press):
    page = opened()
    assert not find(page, ".reveal").is_enabled()
    assert not any(card.is_enabled() for card in find_all(page, ".runs button"))
    press(page, ".draw")
    assert [card.text.split("\n")[1] for card in find_all(page, ".runs button")] == [
        "91.00 %",
        "93.00 %",
        "94.00 %",
        "89.00 %",
    ]
    press(page, ".runs [data-key=experiment-3]")
    assert "3 L2 is the best, with 94.00 %" in " ".join(find(page, "[role=status]").text.split())
    assert [card.get_attribute("data-key") for card in find_all(page, "[aria-pressed=true]")] == ["experiment-3"]
    assert not find(page, ".revealed").is_displayed()
    press(page, ".reveal")
    assert [row.text.split("\n")[-1] for row in find_all(page, ".wins li")] == [
        "0 (0.0 %)",
        "0 (0.0 %)",
        "1 (100.0 %)",
        "0 (0.0 %)",
        "0 (0.0 %)",
    ]
    assert len(find_all(page, ".dot")) == len(find_all(page, ".drawn")) == 4


def test_tally_keeps_one_vote_a_draw(opened):
    page = opened()
    for winner in ("experiment-3", "experiment-3", "experiment-2"):
        click(page, ".draw")
        click(page, ".runs [data-key=experiment-1]")
        click(page, f".runs [data-key={winner}]")
    assert " ".join(find(page, ".tally").text.split()) == (
        "Your winners so far: 2 batch norm + L2 (1 of 3), 3 L2 (2 of 3)."
    )


def test_every_replica_is_a_dot_where_its_accuracy_is_and_every_drawn_one_has_a_ring(opened):
    page = opened("four")
    drawn = {key: set() for key in FOUR}
    for _ in range(4):
        click(page, ".draw")
        for card in find_all(page, ".runs button"):
            drawn[card.get_attribute("data-key")].add(card.text.split("\n")[1])
        next(card for card in find_all(page, ".runs button") if card.is_enabled()).click()
    click(page, ".reveal")
    low, high = 0.1 - 0.84 * 0.03, 0.94 + 0.84 * 0.03
    for key, shares in TABLES["four"].items():
        centres = page.execute_script(
            "return [...document.querySelectorAll(`#roulette [data-key=${arguments[0]}] .dot`)]"
            ".map((dot) => parseFloat(dot.getAttribute('cx')))",
            key,
        )
        expected = [100 * (share - low) / (high - low) for share in shares if not isnan(share)]
        assert centres == pytest.approx(expected)
        assert len(find_all(page, f".strip[data-key={key}] .drawn")) == len(drawn[key] - {"diverged"})
    assert "1 diverged" in find(page, ".strip[data-key=experiment-2]").text


def test_a_replica_that_diverged_cannot_be_chosen(opened):
    page = opened("diverged")
    click(page, ".draw")
    cards = find_all(page, ".runs button")
    assert [card.text.split("\n")[1] for card in cards] == ["diverged"] * 4
    assert not any(card.is_enabled() for card in cards)
    assert "All of them diverged" in find(page, "[role=status]").text


def test_other_experiments_and_fewer_of_them(opened):
    page = opened("two")
    click(page, ".draw")
    assert [" ".join(card.text.split("\n")[0].split()) for card in find_all(page, ".runs button")] == [
        "4-exact",
        "1 plain",
    ]
    click(page, ".runs button")
    click(page, ".reveal")
    assert [row.text.split("\n")[-1] for row in find_all(page, ".wins li")] == ["0 (0.0 %)", "3 (75.0 %)", "1 (25.0 %)"]


def test_conclusions_are_shown_after_the_reveal_where_there_are_any(opened):
    page = opened("shares")
    click(page, ".draw")
    next(card for card in find_all(page, ".runs button") if card.is_enabled()).click()
    assert not find(page, ".conclusions").is_displayed()
    click(page, ".reveal")
    assert [row.text.split("\n") for row in find_all(page, ".conclusions li")] == [
        ["L2 <helps>", "87 %"],
        ["Batch norm does not", "12 %"],
    ]
    assert find_all(opened("four"), ".conclusions") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.usefixtures("as_before")
def test_fits_and_can_be_read(opened, width, scheme):
    page = opened("shares")
    show(page, width, scheme)
    click(page, ".draw")
    next(card for card in find_all(page, ".runs button") if card.is_enabled()).click()
    click(page, ".reveal")
    assert_fits_and_can_be_read(page, "#roulette", width)


def test_without_javascript_a_sentence_stands_for_the_game(driver, addresses):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(addresses["four"])
        assert "It would draw one run" in find(driver, "noscript").text
        assert not find(driver, ".table").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
