"""How numbers are written in the report: one filter for each kind of number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
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
    filters = (anchor, percent, share, level, plain, number, points, measure, interval, p_value, listed, unbroken)
    made.filters |= {function.__name__: function for function in filters} | {"svg": inline_svg}
    return made


def percent(value: Any, digits: int = 2) -> str:
    """A fraction as percent, 0.9193 → 91.93 %."""
    return NOT_THERE if missing(value) else f"{100 * value:.{digits}f} %"


def share(value: Any) -> str:
    """A probability as whole percent; what is neither 0 nor 1 is not written as 0 % or 100 %."""
    if missing(value):
        return NOT_THERE
    if 0 < value < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < value < 1 else f"{100 * value:.0f} %"


def level(fraction: float) -> str:
    """A fraction that a parameter sets, as percent with the digits that it has: 0.95 → 95 %, 0.999 → 99.9 %."""
    return f"{100 * fraction:g} %"


def plain(value: float) -> str:
    """A parameter as a decimal number, with an exponent only where it is very small or very large."""
    return np.format_float_positional(value, trim="-") if 1e-9 <= value < 1e9 else f"{value:g}"


def number(value: Any, decimals: int = 4) -> str:
    """Four significant digits, so many decimals at most; all digits before the point, or a power of ten from 10⁷ on."""
    if missing(value):
        return NOT_THERE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e7:
        return power(value)
    # Rounded once, from the value itself: first to four significant digits and then to decimals would be twice.
    size = math.floor(math.log10(abs(value))) if value else 0
    if abs(round(value, 3 - size)) >= 10.0 ** (size + 1):  # 9.9996 becomes 10.00
        size += 1
    digits = max(0, min(decimals, 3 - size))
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def decimal(value: float) -> str:
    """A number as the tick of an axis: plain, 0.2 or 1,000; very large or very small, with a power of ten."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:,g}".replace("-", "−")
    mantissa, exponent = f"{value:.0e}".split("e")
    return ("" if mantissa == "1" else f"{mantissa} × ") + f"10{_raised(exponent)}"


def power(value: float) -> str:
    """A large number as a power of ten, 1.687 × 10⁹."""
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa} × 10{_raised(exponent)}".replace("-", "−")


def _raised(exponent: str) -> str:
    return str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def points(value: Any, digits: int = 2) -> str:
    """A difference of accuracies, 0.0215 → +2.15; of a run that diverged it is infinite."""
    return NOT_THERE if missing(value) else f"{100 * value:+.{digits}f}".replace("-", "−").replace("inf", "∞")


def measure(value: Any, name: str) -> str:
    """A number as its measure is written: accuracies in percent."""
    return percent(value) if name.endswith("accuracy") else number(value)


def interval(row: Any, name: str = "") -> str:
    """The median of a record, with its interval: median [low, high]."""
    middle, low, high = (measure(row[column], name) for column in ("median", "median_low", "median_high"))
    return middle if low == NOT_THERE else f"{middle} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def p_value(value: Any) -> str:
    """Two significant digits, or that it is smaller than one in ten thousand."""
    if missing(value):
        return NOT_THERE
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def listed(parts: Iterable[str], word: str = "and") -> str:
    """One, two and three."""
    *before, last = [*parts] or [""]
    return f"{', '.join(before)} {word} {last}" if before else last


def anchor(heading: str) -> str:
    """The anchor of a heading of a Markdown page on GitHub."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


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


def missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
