"""The tryout: each challenger against the current prompt alone, until each has an answer of its own.

A :class:`~engine.verdict.race.Race` looks for one winner, and drops whoever is behind; here nobody is dropped for
another's sake. Pure decisions over grouped differences, like the race.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.verdict.claims import Claim, Level
from engine.verdict.race import NO_GAIN, Answer, Look, Standing, answer_at_the_end


class Tryout:
    """A tryout of ``challengers``; who has an answer leaves ``active``, and is asked no more rows.

    The chance that any challenger is promoted whose claims are not all true is at most ``level.alpha``, over all looks
    and all challengers: each p-value is valid at any look, and Holm's method (1979) steps through them as they come. A
    challenger that is promoted at one look frees its share of alpha for those that are left, at this look and later
    ones; one that is turned down frees nothing. (Holm's proof asks only that a true null's p-value is below alpha / m
    with a chance of at most alpha / m, m being the number of true nulls; valid at any time, it is, over all looks.)
    """

    def __init__(self, challengers: Sequence[str], level: Level, *, planned_rows: int) -> None:
        if not challengers:
            raise ValueError("a tryout needs a challenger")
        self._all = tuple(challengers)
        self._level = level
        self._planned = planned_rows
        self._promoted = 0
        self.active = list(challengers)

    def after(self, look: Look) -> dict[str, Standing]:
        """Return where each of those stands that were in it, by name; an answer is final."""
        p_values = {
            name: max(self._level.p_value(claim, last=look.last) for claim in look.claims[name]) for name in self.active
        }
        found = {}
        # Ties in the order that they were given in: Python's sort keeps it.
        for name in sorted(self.active, key=lambda one: p_values[one]):
            among = len(self._all) - self._promoted
            p_value = min(1.0, p_values[name] * among)
            found[name] = self._standing(look, name, p_value, among)
            self._promoted += found[name].answer is Answer.PROMOTE
        self.active = [name for name in self.active if found[name].answer is None]
        return found

    def _standing(self, look: Look, name: str, p_value: float, among: int) -> Standing:
        every = len(self._all)
        if p_value <= self._level.alpha:
            sure = Answer.PROMOTE if look.promotable or look.last else None
            return Standing(name, sure, p_value, among, at_once=every)
        if any(self._level.refuted(claim, among=every) for claim in look.claims[name]):
            return Standing(name, Answer.KEEP, p_value, among, {name: NO_GAIN}, at_once=every)
        if look.last:
            return Standing(name, self._at_the_end(look, name), p_value, among, at_once=every)
        hopeless = any(
            self._level.hopeless(claim, planned_rows=self._planned, among=among) for claim in look.claims[name]
        )
        answer = self._at_the_end(look, name) if hopeless else None
        dropped = {name: "hardly a chance that the rest would show a gain"} if hopeless else {}
        return Standing(name, answer, p_value, among, dropped, hopeless=hopeless, at_once=every)

    def _at_the_end(self, look: Look, name: str) -> Answer:
        """No sign of a gain is an answer where all rows were asked; where the budget ended, more rows may show one."""
        every = len(self._all)
        if not look.cut_short:
            return answer_at_the_end(look, name, self._level, among=every)
        ruled_out = any(
            self._level.p_value(Claim(claim.differences.mirrored, -claim.minimum - claim.worthwhile), last=look.last)
            <= self._level.alpha / every
            for claim in look.claims[name]
        )
        return Answer.KEEP if ruled_out else Answer.NEED_MORE_DATA
