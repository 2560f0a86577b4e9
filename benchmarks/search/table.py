"""The section of docs/benchmarks.md: tables made of the searches that were kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.search.curves import Curve, first_reaching, mean_at, paired
from benchmarks.search.systems import BASELINE, PROMPTMILL, SYSTEMS
from benchmarks.search.world import FAMILIES

# Where the sections stand in the page: the worlds', and the real tasks'.
PLACES = {
    real: (
        f"<!-- BEGIN {name}: written by `python -m benchmarks.search{option}`, do not edit -->",
        f"<!-- END {name} -->",
    )
    for real, name, option in ((False, "search", ""), (True, "search on real tasks", " --real"))
}

Line = Mapping[str, Any]

_SHARES = (0.25, 0.50, 0.75, 0.90)


def section(lines: Sequence[Line], budget: int) -> str:
    """Return the whole section, of the searches with this budget."""
    chosen = [line for line in lines if line["budget"] == budget]
    quality, timed = split(chosen)
    synthetic = all(line["family"] in FAMILIES for line in chosen)
    parts = [_goals(quality, timed, budget) if synthetic else ""]
    parts += [_family(quality, family, budget) for family in dict.fromkeys(family for _, family in quality)]
    parts += [_wall(timed), _failures(chosen), _about(chosen)]
    return "\n\n".join(part for part in parts if part)


Curves = dict[tuple[str, str], list[Curve]]


def split(lines: Sequence[Line]) -> tuple[Curves, Curves]:
    """Return the curves by (system, family): of searches for quality, and of those whose time was measured."""
    quality: Curves = {}
    timed: Curves = {}
    for line in lines:
        if "error" not in line:
            into = timed if line["median_ms"] else quality
            into.setdefault((line["system"], line["family"]), []).append(Curve.of(line))
    return quality, timed


def systems_of(curves: Curves) -> list[str]:
    """Return the systems that have curves: in their order, then those kept under other labels."""
    present = dict.fromkeys(system for system, _ in curves)
    known = [system.name for system in SYSTEMS if system.name in present]
    return [*known, *(name for name in present if name not in known)]


def _goals(quality: Curves, timed: Curves, budget: int) -> str:
    """Say how promptmill stands to the goals, over all families together."""
    ours, base = _pooled(quality, PROMPTMILL.name), _pooled(quality, BASELINE.name)
    if not ours or not base:
        return ""
    third = _difference(ours, base, lambda curve: curve.at_calls(budget / 3), lambda curve: curve.at_calls(budget))
    final = _difference(ours, base, lambda curve: curve.share[-1], lambda curve: curve.share[-1])
    said = [
        "Of the gain that is possible, from the seed's true quality to the best prompt's, over all families together:",
        f"- **a third of the calls**: ours after {budget // 3}, stock gepa after {budget}: {third}; goal: above 0",
        f"- **the final prompt**: ours less stock gepa's, both after {budget} calls: {final}; goal: above 0",
    ]
    ratios = _time_ratios(timed, BASELINE.name, PROMPTMILL.name)
    if len(ratios):
        said.append(
            f"- **a quarter of the time**: stock gepa takes {np.exp(np.mean(np.log(ratios))):.1f} times as long for "
            f"the same budget (from {min(ratios):.1f} to {max(ratios):.1f} in {len(ratios)} worlds); goal: 4"
        )
    return "\n".join(said)


def _family(quality: Curves, family: str, budget: int) -> str:
    base = quality.get((BASELINE.name, family), [])
    points = [budget // 8, budget // 4, budget // 3, budget // 2, budget]
    heads = [f"at {calls}" for calls in points]
    heads += [f"calls to {share:.0%} (gepa's over these)" for share in _SHARES]
    lines = [
        f"### {family.capitalize()} worlds: {_rates(family)}"
        if family in FAMILIES
        else f"### {family}: holdout scores",
        "",
        "| system | worlds | " + " | ".join(heads) + " | final less gepa's | at a third less gepa's final |",
        "|---|--:|" + "--:|" * len(heads) + "---|---|",
    ]
    for system in systems_of(quality):
        curves = quality.get((system, family))
        if not curves:
            continue
        cells = [system, str(len(curves)), *(f"{mean_at(curves, calls):.2f}" for calls in points)]
        for share in _SHARES:
            reached = first_reaching(curves, share, budget)
            its = first_reaching(base, share, budget)
            ratio = f" ({its / reached:.1f})" if reached and its else ""
            cells.append(f"{reached}{ratio}" if reached else "never")
        same = system == BASELINE.name
        cells.append("" if same else _difference(curves, base, lambda c: c.share[-1], lambda c: c.share[-1]))
        cells.append(_difference(curves, base, lambda c: c.at_calls(budget / 3), lambda c: c.at_calls(budget)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _wall(timed: Curves) -> str:
    """The time that whole searches took."""
    if not timed:
        return ""
    lines = [
        "### Time for the same budget",
        "",
        "| system | searches | seconds, mean | stock gepa's over it | s to 50 % | s to 75 % |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for system in systems_of(timed):
        curves = _pooled(timed, system)
        ratios = _time_ratios(timed, BASELINE.name, system)
        ratio = f"{np.exp(np.mean(np.log(ratios))):.1f}" if len(ratios) else ""
        reached = [_seconds_to(list(curves.values()), share) for share in (0.5, 0.75)]
        cells = [f"{one:.0f}" if one is not None else "never" for one in reached]
        mean = np.mean([curve.whole_s for curve in curves.values()])
        lines.append(f"| {system} | {len(curves)} | {mean:.0f} | {ratio} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _seconds_to(curves: Sequence[Curve], share: float) -> float | None:
    points = sorted({at_s for curve in curves for at_s in curve.seconds})
    return next((at_s for at_s in points if np.mean([c.at_seconds(at_s) for c in curves]) >= share), None)


def _failures(lines: Sequence[Line]) -> str:
    failed = [line for line in lines if "error" in line]
    return "\n".join(f"- {one['system']}, {one['family']} {one['number']}: failed: {one['error']}" for one in failed)


def _about(lines: Sequence[Line]) -> str:
    """Versions, days and machine load, as they were when it was measured."""
    if not lines:
        return ""
    versions = {name: version for line in lines for name, version in line["versions"].items()}
    days = sorted({line["measured_at"][:10] for line in lines})
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    notes = "\n".join(f"- {system.name}: {system.note}" for system in SYSTEMS if system.note)
    rows = {(line["train"], line["val"]) for line in lines}
    shown = "; ".join(f"{train} training rows and {val} val rows" for train, val in sorted(rows))
    return f"{notes}\n\nMeasured {' to '.join(dict.fromkeys((days[0], days[-1])))}; {shown}; {listed}."


def _rates(family: str) -> str:
    rates = FAMILIES[family]
    useless = 1 - rates.good - rates.harmful - rates.narrow
    text = (
        f"{rates.good:.0%} of the proposals are good, {useless:.0%} useless, {rates.harmful:.0%} harmful, "
        f"{rates.narrow:.0%} narrow; {rates.wording:.0%} of the answers hang on wording"
    )
    return text if rates.judge_errors is None else f"{text}; a judge is wrong {rates.judge_errors:.0%} of the time"


def _pooled(curves: Curves, system: str) -> dict[tuple[str, int], Curve]:
    return {(family, c.number): c for (name, family), found in curves.items() if name == system for c in found}


Pool = Mapping[Any, Curve] | Sequence[Curve]


def _difference(one: Pool, other: Pool, value: Callable[[Curve], float], base: Callable[[Curve], float]) -> str:
    ones, others = (pool if isinstance(pool, Mapping) else {c.number: c for c in pool} for pool in (one, other))
    shared = [(value(curve), base(others[key])) for key, curve in ones.items() if key in others]
    if not shared:
        return ""
    mean, low, high = paired(shared)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _time_ratios(timed: Curves, one: str, other: str) -> list[float]:
    ones, others = _pooled(timed, one), _pooled(timed, other)
    return [curve.whole_s / others[key].whole_s for key, curve in ones.items() if key in others]
