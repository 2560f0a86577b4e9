"""The report's charts as inline SVG: score by step, the holdout interval, and a slice's two scores.

Each function is pure and gives empty Markup where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from engine.record import CandidateLine, StepLine
from engine.report.svg import element, scale, ticks
from engine.report.words import change, finite, score

# Wide enough for seven tick labels, narrow enough to stay readable when a phone shrinks it.
WIDTH = 560.0
MIN_SPAN = 0.1  # a narrower axis would make noise look like progress


def score_domain(values: Sequence[float]) -> tuple[float, float]:
    """Give an axis that holds all values with some air, never outside 0 to 1 unless a value is, at least 0.1 long.

    >>> score_domain([0.5]), score_domain([0.0, 1.0])
    ((0.45, 0.55), (0.0, 1.0))
    """
    low, high = min(values), max(values)
    pad = max((high - low) * 0.08, (MIN_SPAN - (high - low)) / 2)
    bottom, top = max(low - pad, min(0.0, low)), min(high + pad, max(1.0, high))
    if bottom == min(0.0, low):
        top = max(top, bottom + MIN_SPAN)
    elif top == max(1.0, high):
        bottom = min(bottom, top - MIN_SPAN)
    return round(bottom, 6), round(top, 6)


def best_so_far(points: Sequence[tuple[float, float]]) -> str:
    """Write the path of a value that holds until the next point changes it.

    >>> best_so_far([(0.0, 10.0), (5.0, 8.0)])
    'M0.0,10.0 H5.0 V8.0'
    """
    (x, y), *rest = points
    return " ".join([f"M{x:.1f},{y:.1f}", *(f"H{x:.1f} V{y:.1f}" for x, y in rest)])


def score_chart(steps: Sequence[StepLine], candidates: Sequence[CandidateLine], winner: str | None) -> Markup:
    """Draw the best val score after each step as a line and each candidate's val score as a dot.

    ``winner`` is the label of the candidate to ring.
    """
    line = [(s.step, v) for s in steps if (v := finite(s.best_val_score)) is not None]
    dots = [(c, v) for c in candidates if (v := finite(c.val_score)) is not None]
    values = [v for _, v in line] + [v for _, v in dots]
    if not values:
        return Markup("")
    domain = score_domain(values)
    last = max([1, *(s.step for s in steps), *(c.step for c, _ in dots)])
    left, right, top, bottom = 46.0, WIDTH - 64.0, 14.0, 204.0

    def at(step: float, value: float) -> tuple[float, float]:
        return scale(step, (0.0, float(last)), (left + 10, right)), scale(value, domain, (bottom, top))

    parts: list[Markup] = []
    for tick in ticks(*domain):
        y = at(0, tick)[1]
        parts += [
            element("line", class_="grid", x1=left, x2=right + 8, y1=y, y2=y),
            element("text", f"{tick:.2f}", class_="axis", x=left - 8, y=y + 4, text_anchor="end"),
        ]
    for step in sorted({round(tick) for tick in ticks(0.0, float(last), min(last, 10))}):
        parts.append(element("text", str(step), class_="axis", x=at(step, 0)[0], y=bottom + 20, text_anchor="middle"))
    parts.append(element("text", "step", class_="axis", x=right + 24, y=bottom + 20))
    if line:
        points = [at(*point) for point in line]
        parts.append(element("path", class_="best-line", d=best_so_far(points)))
        end = points[-1]
        parts.append(element("text", score(line[-1][1]), class_="value", x=end[0] + 12, y=end[1] + 4))
    for candidate, value in dots:
        x, y = at(candidate.step, value)
        won = candidate.label == winner
        title = element("title", f"{candidate.label}: val score {score(value)}, step {candidate.step}")
        kind = "dot won" if won else f"dot {'seed' if candidate.status == 'seed' else 'other'}"
        parts.append(element("circle", title, class_=kind, cx=x, cy=y, r=5.5 if won else 4.0))
    summary = f"Val score by step: {len(dots)} candidates scored, best {score(max(values))}"
    return picture(summary, WIDTH, bottom + 30, parts)


def interval_domain(values: Sequence[float]) -> tuple[float, float]:
    """Give an axis around all values and 0, with air for the dot and the labels.

    >>> interval_domain([0.41, 0.51])
    (-0.051, 0.561)
    """
    low, high = min(0.0, *values), max(0.0, *values)
    pad = max((high - low) * 0.1, 0.005)
    return round(low - pad, 6), round(high + pad, 6)


def interval_chart(difference: float | None, interval: Sequence[float | None], needed: float) -> Markup:
    """Draw the holdout difference and its interval against 0 and against what the gate needs.

    An end that is missing or infinite is drawn to the edge. Nothing is drawn without a difference.
    """
    middle = finite(difference)
    if middle is None:
        return Markup("")
    ends = [finite(end) for end in (*interval, None, None)[:2]]
    domain = interval_domain([middle, needed, *(end for end in ends if end is not None)])
    left, right = 30.0, WIDTH - 30.0  # room for half a tick label
    low, high = (
        edge if end is None else scale(end, domain, (left, right))
        for end, edge in zip(ends, (left, right), strict=True)
    )
    x, zero, bar = (scale(value, domain, (left, right)) for value in (middle, 0.0, needed))
    axis, line = 88.0, 62.0
    parts = [element("line", class_="grid", x1=left, x2=right, y1=axis, y2=axis)]
    for tick in ticks(*domain, 6):
        tick_x = scale(tick, domain, (left, right))
        parts += [
            element("line", class_="grid", x1=tick_x, x2=tick_x, y1=axis, y2=axis + 4),
            element("text", change(tick) if tick else "0", class_="axis", x=tick_x, y=axis + 18, text_anchor="middle"),
        ]
    parts += _mark(zero, 12.0, axis, "zero", "no change")
    if needed:
        parts += _mark(bar, 28.0, axis, "needed", f"needed: {change(needed)}")
    parts += [
        element(
            "path",
            class_="whisker",
            d=f"M{low:.1f},{line - 6} v12 M{low:.1f},{line} H{high:.1f} M{high:.1f},{line - 6} v12",
        ),
        element("circle", class_="dot won", cx=x, cy=line, r=6.0),
        element("text", change(middle), class_="value", x=x, y=line - 13, text_anchor="middle"),
    ]
    written = " to ".join("unbounded" if end is None else change(end) for end in ends)
    return picture(
        f"Holdout difference {change(middle)}, interval {written}, against 0 and {change(needed)}", WIDTH, 112.0, parts
    )


def _mark(x: float, y: float, axis: float, kind: str, label: str) -> list[Markup]:
    # Past the middle, a label to the right of its line could leave the picture.
    anchor, shift = ("end", -5.0) if x > WIDTH / 2 else ("start", 5.0)
    return [
        element("line", class_=kind, x1=x, x2=x, y1=y - 10, y2=axis),
        element("text", label, class_="axis", x=x + shift, y=y, text_anchor=anchor),
    ]


def slice_chart(seed: float, best: float) -> Markup:
    """Draw a slice's score before (hollow) and after (filled) on one line from 0 to 1."""
    if finite(seed) is None or finite(best) is None:
        return Markup("")
    a, b = (scale(min(1.0, max(0.0, value)), (0.0, 1.0), (7.0, 153.0)) for value in (seed, best))
    parts = [
        element("line", class_="grid", x1=7.0, x2=153.0, y1=9.0, y2=9.0),
        element("line", class_="gain" if best >= seed else "loss", x1=a, x2=b, y1=9.0, y2=9.0),
        element("circle", class_="dot seed", cx=a, cy=9.0, r=4.0),
        element("circle", class_="dot won" if best >= seed else "dot lost", cx=b, cy=9.0, r=4.5),
    ]
    return picture(f"from {score(seed)} to {score(best)}", 160.0, 18.0, parts)


def picture(title: str, width: float, height: float, parts: Sequence[Markup], *, role: str = "img") -> Markup:
    """Put parts into an ``svg`` with a title that screen readers read."""
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": width, "height": height}
    return element("svg", element("title", title), *parts, class_="chart", role=role, **size, aria_label=title)
