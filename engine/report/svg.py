"""SVG elements as escaped text, and the two functions that every axis needs; colours are the style sheet's."""

from __future__ import annotations

import math
from itertools import takewhile

from markupsafe import Markup, escape

from engine.report.words import visible

MAX_TICKS = 50


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Write one element; text and attributes are escaped, children that are Markup are not escaped again.

    A trailing underscore is dropped and an inner one becomes a hyphen; None attributes are left out.

    >>> element("text", "a < b", class_="axis", text_anchor="end", x=1.0, y=2.345)
    Markup('<text class="axis" text-anchor="end" x="1" y="2.35">a &lt; b</text>')
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _attribute(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(visible(child)) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inner)


def _attribute(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return visible(str(value))


def scale(value: float, domain: tuple[float, float], pixels: tuple[float, float]) -> float:
    """Map a value of ``domain`` to ``pixels``, linearly; an empty domain maps to the middle.

    >>> scale(0.5, (0.0, 1.0), (100.0, 0.0)), scale(3.0, (3.0, 3.0), (0.0, 10.0))
    (50.0, 5.0)
    """
    low, high = domain
    share = (value - low) / (high - low) if high > low else 0.5
    return pixels[0] + share * (pixels[1] - pixels[0])


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Give round numbers inside [low, high], rising, 1, 2 or 5 times a power of ten apart, about ``wanted`` of them.

    >>> ticks(0.0, 1.0), ticks(0.37, 0.46, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.38, 0.4, 0.42, 0.44, 0.46])
    """
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / raw)))
    digits = max(0, 2 - math.floor(math.log10(step)))
    first = math.ceil(low / step - 1e-9)
    found = (round((first + n) * step, digits) + 0.0 for n in range(MAX_TICKS))
    return [tick for tick in takewhile(lambda tick: tick <= high + step * 1e-9, found) if tick >= low - step * 1e-9]
