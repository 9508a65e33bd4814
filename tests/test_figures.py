"""What all figures share: colours, how numbers are written, places of labels, the bytes of an SVG."""

import itertools
import json
import re

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import REPOSITORY

from stages.reporting.colours import COLOURS, darkened, themed
from stages.reporting.figures.style import panels, spread, svg
from stages.reporting.formats import decimal, inline_svg, number, percent, power, share


def luminance(colour):
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [name for name in COLOURS if name not in ("line", "paper")])
def test_letters_stand_out_in_every_colour(name, scheme):
    dark, light = sorted(luminance(getattr(COLOURS[part], scheme)) for part in (name, "paper"))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("template", ["runs", "replicas"])
def test_what_dvc_plots_has_the_colours_of_the_figures(template):
    text = json.dumps(json.loads((REPOSITORY / f".dvc/plots/{template}.json").read_text(encoding="utf-8")))
    assert set(re.findall(r"#[0-9a-f]{6}", text)) <= {colour.light for colour in COLOURS.values()}


def test_a_figure_has_the_colours_of_the_page_that_it_stands_in():
    text = f'<?xml?>\n<svg width="2pt" height="1pt"><path id="a" style="fill: {COLOURS["red"].light}"/></svg>'
    assert themed(text).count("fill: var(--red, #") == 1
    assert COLOURS["red"].dark in darkened(text)
    inside = inline_svg(text, "accuracies")
    assert inside.startswith('<svg><path id="accuracies-a"')


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(2.0547), "2.055"),
        (number(0.99996), "1.000"),
        (number(-1234.56), "−1,235"),
        (number(263576.84), "263,577"),
        (number(1.6871e9), "1.687 × 10⁹"),
        (number(0.00004), "0.0000"),
        (number(float("nan")), "–"),
        (number(-0.00001), "0.0000"),
        (percent(0.91929), "91.93 %"),
        (share(0.0002), "< 1 %"),
        (share(0.9999), "> 99 %"),
        (share(0.0), "0 %"),
        (decimal(0.2), "0.2"),
        (decimal(-1000), "−1,000"),
        (decimal(1e5), "10⁵"),
        (decimal(2e-5), "2 × 10⁻⁵"),
        (power(9.9996e9), "1.000 × 10¹⁰"),
    ],
)
def test_a_number_is_written_for_people(written, expected):
    assert written == expected


@given(st.floats(1e-3, 9e6))
def test_a_number_is_rounded_once(value):
    """So that it is at most half a unit of its last digit away."""
    text = number(value).replace(",", "")
    unit = 10.0 ** -len(text.partition(".")[2])
    assert abs(float(text) - value) <= unit / 2 * (1 + 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).map(sorted))
def test_labels_stand_apart_in_order_and_above_the_axis(wanted):
    places = spread(wanted, 0.06)
    assert min(places) >= -1e-9
    assert all(b - a >= 0.06 - 1e-9 for a, b in itertools.pairwise(places))


def drawing():
    figure, (ax,) = panels(1, 1)
    ax.plot([1, 2], [3, 4], label="a")
    ax.legend()
    return figure


def test_the_users_own_settings_of_matplotlib_change_nothing():
    usual = svg(drawing, "A line", "3 and 4")
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert svg(drawing, "A line", "3 and 4") == usual
        assert mpl.rcParams["font.size"] == 30
