"""The race as inline SVG: how the leader's gain and its interval closed in, look by look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from engine.record import LookLine
from engine.report.charts import WIDTH, interval_domain, picture
from engine.report.svg import element, scale, ticks
from engine.report.words import change, count, finite


def race_chart(looks: Sequence[LookLine], needed: float) -> Markup:
    """Draw the leader's gain at each look with its interval, over the rows asked (a logarithmic axis).

    Nothing is drawn of a race that had fewer than two looks.
    """
    seen = [
        (look, middle, ends)
        for look in looks
        if (middle := finite(look.difference)) is not None and (ends := _ends(look)) is not None and look.rows > 0
    ]
    if len(seen) < 2:
        return Markup("")
    values = [needed, *(value for _, middle, ends in seen for value in (middle, *ends))]
    domain = interval_domain([max(-1.0, min(1.0, value)) for value in values])
    span = (math.log(seen[0][0].rows), math.log(max(seen[-1][0].rows, seen[0][0].rows + 1)))
    left, right, top, bottom = 56.0, WIDTH - 24.0, 14.0, 204.0

    def x(rows: int) -> float:
        return scale(math.log(rows), span, (left + 12, right - 12))

    def y(value: float) -> float:
        return scale(value, domain, (bottom, top))

    parts: list[Markup] = []
    for tick in ticks(*domain):
        parts += [
            element("line", class_="grid", x1=left, x2=right, y1=y(tick), y2=y(tick)),
            element("text", change(tick) if tick else "0", class_="axis", x=left - 8, y=y(tick) + 4, text_anchor="end"),
        ]
    parts.append(element("line", class_="zero", x1=left, x2=right, y1=y(0.0), y2=y(0.0)))
    if needed:
        parts.append(element("line", class_="needed", x1=left, x2=right, y1=y(needed), y2=y(needed)))
    for number, (look, middle, (low, high)) in enumerate(seen):
        title = element(
            "title",
            f"{count(look.rows)} rows, {look.leader} leads: {change(middle)}, interval {change(low)} to {change(high)}",
        )
        at = x(look.rows)
        whisker = f"M{at - 4:.1f},{y(low):.1f} h8 M{at:.1f},{y(low):.1f} V{y(high):.1f} M{at - 4:.1f},{y(high):.1f} h8"
        parts += [
            element("path", class_="whisker", d=whisker),
            element("circle", title, class_="dot won", cx=at, cy=y(middle), r=4.5),
        ]
        # Every look is 1.5 times the one before: labels of every second one have room on any screen.
        if (len(seen) - 1 - number) % 2 == 0:
            parts.append(element("text", count(look.rows), class_="axis", x=at, y=bottom + 20, text_anchor="middle"))
    parts.append(element("text", "rows", class_="axis", x=left - 8, y=bottom + 20, text_anchor="end"))
    summary = (
        f"The leader's gain over {len(seen)} looks, from {count(seen[0][0].rows)} to {count(seen[-1][0].rows)} rows"
    )
    return picture(summary, WIDTH, bottom + 30, parts)


def _ends(look: LookLine) -> tuple[float, float] | None:
    ends = [finite(end) for end in look.interval or ()]
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None
