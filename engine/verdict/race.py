"""The race: which prompt leads after each look at the holdout, who drops out, and when the answer is known.

Pure decisions over grouped differences: asking, joining and telling are :mod:`engine.verdict.holdout`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engine.verdict.claims import Claim, Level

# A first round of fewer rows hardly ever decides, and costs a Spark job. Holdouts under one and a half times as many
# rows are looked at once.
_FIRST_ROUND = 100
# Each round looks at half as many rows again. Simulated: doubling rounds ask a fifth more rows; each costs a Spark job.
_GROWTH = 1.5
# Up to this share of the rows, prompts other than the leader race; then the leader goes on alone.
_SELECTION_SHARE = 0.25
# Why a challenger leaves that is known to bring nothing.
NO_GAIN = "no gain worth having, with confidence"


class Answer(StrEnum):
    """What a race came to."""

    PROMOTE = "promote"
    KEEP = "keep"
    NEED_MORE_DATA = "need more data"


@dataclass(frozen=True)
class Look:
    """What is known after a round.

    ``rows`` were asked so far. By challenger still in the race: ``gains``, the mean differences to the current prompt
    (NaN without rows), and ``claims``, all of which must be shown. ``duels`` has the claim that the first of a pair is
    better than the second. ``last``: no more rows can be asked. Without ``promotable`` nothing is promoted yet, however
    sure. ``cut_short``: the budget ended here, though there are more rows.
    """

    rows: int
    gains: Mapping[str, float]
    claims: Mapping[str, Sequence[Claim]]
    duels: Mapping[tuple[str, str], Claim] = field(default_factory=dict)
    last: bool = False
    promotable: bool = True
    cut_short: bool = False


@dataclass(frozen=True)
class Standing:
    """Where the race stands after a look: ``answer`` is ``None`` while it goes on.

    ``p_value`` is the leader's over all its claims, corrected for the number of challengers; ``among`` is that
    correction. ``dropped`` names who left at this look, and why. So many intervals hold at once as ``at_once`` says, as
    ``among`` where it is ``None``.
    """

    leader: str
    answer: Answer | None
    p_value: float
    among: int
    dropped: Mapping[str, str] = field(default_factory=dict)
    hopeless: bool = False
    at_once: int | None = None


def look_sizes(rows: int) -> list[int]:
    """Return how many rows have been asked after each round, at most: growing by half, the last is all of them.

    >>> look_sizes(72), look_sizes(1000)
    ([72], [132, 198, 297, 445, 667, 1000])
    """
    sizes = [rows]
    while sizes[0] / _GROWTH >= _FIRST_ROUND:
        sizes.insert(0, -(-sizes[0] * 2 // 3))
    return sizes


def selection_rows(rows: int) -> int:
    """Return over how many rows all finalists may race at most, of as many as are planned: until the first look past a
    quarter, which three tenths of them reach, give or take what a hash's rounds vary.

    >>> selection_rows(100), selection_rows(1000)
    (100, 349)
    """
    reached = next(size for size in look_sizes(rows) if size >= _SELECTION_SHARE * rows)
    return min(rows, reached + math.ceil(3 * math.sqrt(reached))) if reached < rows else rows


class Race:
    """A race of challengers against the current prompt; ``challengers`` come best first by what was known before.

    The chance that any challenger is promoted whose claims are not all true is at most ``level.alpha``, over all looks
    and all challengers: each look's p-values are valid at any time (see :mod:`engine.verdict.claims`), and Holm's
    method (1979) corrects them for all challengers that began, whether they are still in the race or not. Stopping,
    dropping and choosing the leader are free.
    """

    def __init__(self, challengers: Sequence[str], level: Level, *, planned_rows: int) -> None:
        if not challengers:
            raise ValueError("a race needs a challenger")
        self._all = tuple(challengers)
        self._level = level
        self._planned = planned_rows
        self.active = list(challengers)

    def after(self, look: Look) -> Standing:
        """Return where the race stands, and take out of ``active`` who has dropped."""
        leader = max(self.active, key=lambda name: (_known(look.gains[name]), -self._all.index(name)))
        p_value, among = self._corrected(look, leader)
        shown = p_value <= self._level.alpha
        if shown and (look.promotable or look.last):
            return Standing(leader, Answer.PROMOTE, p_value, among)
        if look.last:
            return Standing(leader, answer_at_the_end(look, leader, self._level, among=among), p_value, among)
        dropped = self._drop(look, leader)
        if leader in dropped:
            return Standing(leader, Answer.KEEP, p_value, among, dropped)
        if not shown and any(
            self._level.hopeless(claim, planned_rows=self._planned, among=among) for claim in look.claims[leader]
        ):
            answer = answer_at_the_end(look, leader, self._level, among=among)
            return Standing(leader, answer, p_value, among, dropped, hopeless=True)
        return Standing(leader, None, p_value, among, dropped)

    def _corrected(self, look: Look, leader: str) -> tuple[float, int]:
        """The leader's p-value by Holm's method, and the factor that it was corrected by."""
        p_values = [
            max(self._level.p_value(claim, last=look.last) for claim in look.claims[name])
            if name in self.active
            else 1.0
            for name in self._all
        ]
        at = self._all.index(leader)
        order = sorted(range(len(p_values)), key=lambda n: (p_values[n], n != at))
        ahead = order.index(at)
        # statsmodels has this, too, with a garbage collection of 80 ms in each call.
        corrected = max(p_values[n] * (len(order) - rank) for rank, n in enumerate(order[: ahead + 1]))
        return min(1.0, corrected), len(order) - ahead

    def _drop(self, look: Look, leader: str) -> dict[str, str]:
        """Take out who is beaten: by the leader, or by its own claims. All at once means that nobody is left."""
        among = len(self._all)
        beaten = {}
        for name in self.active:
            if any(self._level.refuted(claim, among=among) for claim in look.claims[name]):
                beaten[name] = NO_GAIN
            elif name != leader and self._beaten(look, leader, name):
                beaten[name] = "worse than the leader, with confidence"
            elif name != leader and look.rows >= _SELECTION_SHARE * self._planned:
                beaten[name] = "behind after a quarter of the rows"
        self.active = [name for name in self.active if name not in beaten]
        return beaten

    def _beaten(self, look: Look, leader: str, name: str) -> bool:
        duel = look.duels.get((leader, name))
        return duel is not None and self._level.p_value(duel, last=False) <= self._level.alpha / len(self._all)


def answer_at_the_end(look: Look, name: str, level: Level, *, among: int) -> Answer:
    """What is said of a challenger when no more rows come: sure that there is no gain, no sign of one, or unsure."""
    for claim in look.claims[name]:
        if not claim.differences.rows:
            continue
        high = level.interval(claim, last=look.last, among=among)[1] if claim.excess > 0 else -1.0
        if high < claim.minimum + claim.worthwhile:
            return Answer.KEEP
    return Answer.NEED_MORE_DATA


def _known(gain: float) -> float:
    return float("-inf") if math.isnan(gain) else gain
