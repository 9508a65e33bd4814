"""How numbers are written in the report: one filter for each kind of number."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stages.reporting.colours import themed

NOT_THERE = "–"


def environment() -> Environment:
    """Jinja over the templates beside this module: HTML is escaped, a name that is not there is an error."""
    made = Environment(
        loader=PackageLoader("stages.reporting"),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "percent": percent,
        "level": level,
        "plain": plain,
        "number": number,
        "measure": measure,
        "interval": interval,
        "effect": effect,
        "published_effect": published_effect,
        "region": region,
        "p_value": p_value,
        "outcome": outcome,
        "svg": inline_svg,
        "unbroken": unbroken,
    }
    return made


def percent(value: Any, digits: int = 2) -> str:
    """A fraction as percent, 0.9193 → 91.93 %."""
    return NOT_THERE if _missing(value) else f"{100 * value:.{digits}f} %"


def level(fraction: float) -> str:
    """A fraction that a parameter sets, as percent with the digits that it has: 0.95 → 95 %, 0.999 → 99.9 %."""
    return f"{100 * fraction:g} %"


def plain(value: float) -> str:
    """A parameter as a decimal number, with an exponent only where it is very small or very large."""
    return np.format_float_positional(value, trim="-") if 1e-9 <= value < 1e9 else f"{value:g}"


def number(value: Any, decimals: int = 4) -> str:
    """So many decimals at most, and four significant digits; thousands with commas, a power of ten where very large."""
    if _missing(value):
        return NOT_THERE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e7:
        return power(value)
    rounded = round(float(f"{value:.4g}"), decimals) + 0.0  # −0 becomes 0
    size = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{min(decimals, max(0, 3 - size))}f}".replace("-", "−")


def decimal(value: float) -> str:
    """A number as the tick of an axis: plain, 0.2 or 1,000; very large or very small, with a power of ten."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:,g}".replace("-", "−")
    mantissa, exponent = f"{value:.0e}".split("e")
    return ("" if mantissa == "1" else f"{mantissa} × ") + f"10{_raised(exponent)}"


def power(value: float) -> str:
    """A large number as a power of ten, 1.687 × 10⁹."""
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa} × 10{_raised(exponent)}"


def _raised(exponent: str) -> str:
    return str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def points(value: Any) -> str:
    """A difference of accuracies, 0.0215 → +2.15."""
    return NOT_THERE if _missing(value) else f"{100 * value:+.2f}".replace("-", "−")


def measure(value: Any, name: str) -> str:
    """A number as its measure is written: accuracies in percent."""
    return percent(value) if name.endswith("accuracy") else number(value)


def interval(row: Any, name: str = "") -> str:
    """median [low, high] of a record."""
    median, low, high = (measure(row[key], name) for key in ("median", "median_low", "median_high"))
    return median if low == NOT_THERE else f"{median} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def effect(row: Any) -> str:
    """The median of a comparison with its interval, in points where it is a difference of accuracies."""
    if _missing(row["median"]):
        return NOT_THERE
    scale, unit = _scale(row)
    median, low, high = (number(row[key] * scale, 2 if unit else 4) for key in ("median", "median_low", "median_high"))
    return f"{median}{unit}" if low == NOT_THERE else f"{median} [{low}, {high}]{unit}"


def published_effect(row: Any) -> str:
    """The same from the study's own numbers, and where it falls among ours."""
    if _missing(row["published"]):
        return NOT_THERE
    scale, unit = _scale(row)
    place = "" if _missing(row["percentile"]) else f" ({row['percentile']:.0f})"
    return f"{number(row['published'] * scale, 2 if unit else 4)}{unit}{place}"


def region(row: Any) -> str:
    """Where a claim places a comparison, and what counts as no difference."""
    scale, unit = _scale(row)
    low, high = row["low"] * scale, row["high"] * scale
    if row["balanced"]:
        return f"either side of {number(low)} alike"
    if math.isinf(low):
        text = f"below {number(high)}{unit}"
    elif math.isinf(high):
        text = f"above {number(low)}{unit}"
    else:
        text = f"{number(low)} to {number(high)}{unit}"
    return text if _missing(row["margin"]) else f"{text}; within {number(row['margin'] * scale)}{unit} equal"


def p_value(value: Any) -> str:
    """Two significant digits, or that it is smaller than one in ten thousand."""
    if _missing(value):
        return NOT_THERE
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def outcome(row: Any) -> str:
    """The verdict on a comparison; of an undecided one how it leans, and how many replicas would decide it."""
    if row["verdict"] != "undecided":
        return str(row["verdict"])
    needed = "no number of seeds up to 10,000" if _missing(row["needed"]) else f"{row['needed']:,.0f} seeds"
    return f"undecided: {row['leaning']}; {needed} would decide"


def _scale(row: Any) -> tuple[int, str]:
    return (100, " points") if "accuracy" in row["comparison"] else (1, "")


def inline_svg(text: str, prefix: str) -> Markup:
    """An SVG of ours inside a page: without prolog, in the page's size and colours, its ids told apart from others'."""
    body = themed(text[text.index("<svg") :])
    body = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]+"', r"\1", body, count=1)
    body = re.sub(r'(\bid="|aria-describedby="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    return Markup(body)


def unbroken(page: str) -> Markup:
    """A page in which no line ends between a number and its percent sign."""
    return Markup(re.sub(r"(?<=\d) %", "\u00a0%", page))


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
