"""What a look at the rows said, as it stands in records and as people are told while a race is on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from engine.record import LookLine
from engine.verdict.claims import Claim, Level
from engine.verdict.race import Look, Standing


def look_line(look: Look, standing: Standing, level: Level, claim: Claim | None, labels: Mapping[str, str]) -> LookLine:
    """Return the line of a look: where the leader stood, whose gain over the current prompt ``claim`` is about.

    ``labels`` name candidates to people; who has none is known by its id.
    """
    leader, gain = standing.leader, look.gains[standing.leader]
    interval = None
    if claim is not None and claim.differences.rows:
        interval = level.interval(claim, last=look.last, among=standing.at_once or standing.among)
    return LookLine(
        rows=look.rows,
        leader=labels.get(leader, leader[:12]),
        difference=None if math.isnan(gain) else gain,
        p_value=standing.p_value,
        racing=len(look.claims),
        interval=interval,
        dropped={labels.get(one, one[:12]): why for one, why in standing.dropped.items()},
    )


def race_told(line: LookLine, planned: int) -> str:
    """Say how a race goes."""
    left = "".join(f"; {name} is out: {why}" for name, why in line.dropped.items())
    return f"race: {line.rows:,} of {planned:,} holdout rows, {line.leader} leads by {_gain(line)}{left}"


def tryout_told(lines: Mapping[str, LookLine], answered: Collection[str], planned: int) -> str:
    """Say how a tryout goes: each challenger's gain, and whose answer is known."""
    told = []
    for name, line in lines.items():
        why = next(iter(line.dropped.values()), "better, with confidence")
        told.append(f"{line.leader} {_gain(line)}" + (f" ({why})" if name in answered else ""))
    rows = next(iter(lines.values())).rows
    return f"{rows:,} of {planned:,} rows: {', '.join(told)}"


def _gain(line: LookLine) -> str:
    return "unknown" if line.difference is None else f"{line.difference:+.3f}"
