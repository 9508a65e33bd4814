"""How numbers are written in the report: one filter for each kind of number."""

from __future__ import annotations

import math
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stages.reporting.figures import power

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
        "number": number,
        "measure": measure,
        "interval": interval,
        "effect": effect,
        "published_effect": published_effect,
        "svg": inline_svg,
    }
    return made


def percent(value: Any, digits: int = 2) -> str:
    """A fraction as percent, 0.9193 → 91.93 %."""
    return NOT_THERE if _missing(value) else f"{100 * value:.{digits}f} %"


def number(value: Any, digits: int = 4) -> str:
    """Four decimals, or thousands with commas, or a power of ten where it is very large."""
    if _missing(value):
        return NOT_THERE
    if abs(value) >= 1e7:
        return power(value)
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"
    return text.replace("-", "−")


def measure(value: Any, name: str) -> str:
    """A number as its measure is written: accuracies in percent."""
    return percent(value) if name.endswith("accuracy") else number(value)


def interval(row: Any, name: str = "") -> str:
    """mean [low, high] of a row or record."""
    mean, low, high = (measure(row[key], name) for key in ("mean", "low", "high"))
    return mean if low == NOT_THERE else f"{mean} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def effect(claim: Any) -> str:
    """The mean of a claim's decisive comparison with its interval, in points where it is a difference of accuracies."""
    scale, unit = _scale(claim)
    mean, low, high = (number(claim[key] * scale, 2 + (scale == 1)) for key in ("mean", "low", "high"))
    return f"{mean}{unit} [{low}, {high}]"


def published_effect(claim: Any) -> str:
    """The same from the study's own numbers, and where it falls among our replicas."""
    if _missing(claim["published"]):
        return NOT_THERE
    scale, unit = _scale(claim)
    return f"{number(claim['published'] * scale, 2 + (scale == 1))}{unit} ({claim['percentile']:.0f})"


def _scale(claim: Any) -> tuple[int, str]:
    return (100, " points") if "accuracy" in claim["comparison"] else (1, "")


def inline_svg(text: str, prefix: str) -> Markup:
    """An SVG of ours inside a page: without prolog, scaled by the page, its ids told apart from other figures'.

    Paths keep two decimals, hundredths of a point: nobody sees the others, and they are a tenth of the page.
    """
    body = text[text.index("<svg") :]
    body = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]+" height="[^"]+"|(<svg[^>]*?) height="[^"]+"', r"\1\2", body, count=1)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    return Markup(body)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
