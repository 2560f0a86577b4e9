"""The places of a window: how a number of calls in flight that is no whole number, and may be below one, is kept.

A window of 2.5 calls is three places of which each rests a while between two calls, so that 2.5 are in use on average.
"""

from __future__ import annotations

import heapq
import math

# From here on a window is rounded to whole places: half a place is under 2 % of it, and resting costs a timer a call.
_WHOLE_FROM = 32.0
# A paced start may come so much earlier: timers are about a millisecond late, and one wake-up then serves several.
_PACE_SLACK_S = 0.004


class Places:
    """Says when a call may start. Pure bookkeeping: times are passed in, in seconds of any steady clock.

    >>> places = Places(1.0)
    >>> places.wait_s(0.0), places.start(0.0), places.wait_s(0.0)
    (0.0, None, inf)
    """

    def __init__(self, window: float) -> None:
        self.in_flight = 0
        self.limit = 1
        self.spacing_s = 0.0
        self.full = False
        self._resting: list[float] = []
        self._rest_share = 0.0
        self._next_start = 0.0
        self.resize(window)

    def resize(self, window: float) -> None:
        """Keep ``window`` calls in flight, on average, from now on."""
        self.limit = max(1, round(window) if window >= _WHOLE_FROM else math.ceil(window - 1e-9))
        self._rest_share = max(0.0, self.limit / window - 1.0) if window < _WHOLE_FROM else 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a call may start: 0 for now, infinity when a call has to end first."""
        resting = self._resting
        while resting and resting[0] <= now:
            heapq.heappop(resting)
        if self.in_flight + len(resting) >= self.limit:
            self.full = True
            return resting[0] - now if resting and self.in_flight < self.limit else math.inf
        if self._next_start > now:
            self.full = True
            return self._next_start - now
        return 0.0

    def start(self, now: float) -> None:
        """Take a place."""
        self.in_flight += 1
        if self.spacing_s:
            self._next_start = max(self._next_start, now - _PACE_SLACK_S) + self.spacing_s

    def end(self, now: float, rest_s: float) -> None:
        """Give a place back that is worth ``rest_s`` seconds for each call: it rests for its share of them."""
        self.in_flight -= 1
        if self._rest_share:
            self.rest(now + self._rest_share * rest_s)

    def refuse(self, now: float, until: float) -> None:
        """Give a place back whose call was refused: it stays taken as if the call had been served."""
        self.in_flight -= 1
        if until > now:
            self.rest(until)

    def rest(self, until: float) -> None:
        """Keep one place empty until then."""
        heapq.heappush(self._resting, until)

    def delay(self, until: float) -> None:
        """Start nothing until then."""
        self._next_start = max(self._next_start, until)

    def wake(self) -> None:
        """Let all places be used at once, however long they were to rest."""
        self._resting.clear()
        self._next_start = 0.0
