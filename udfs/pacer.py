"""Pacing: a budget per minute spread evenly over the minute."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]

# How far a start that was due may lag behind and still count from when it was due. Timers are some milliseconds late;
# without this, each lateness would be lost from the budget. Short, so that nothing is saved up for a burst.
_CATCH_UP_S = 0.1


class Pacer:
    """Spreads a budget per minute evenly: each start takes its share of time, so nothing bursts.

    ``wait_s`` is how long until the next start; ``take`` then uses up its amount.

    >>> now = [0.0]
    >>> pacer = Pacer(per_minute=60, clock=lambda: now[0])
    >>> pacer.take(2)
    >>> pacer.wait_s()
    2.0
    """

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._seconds_each = 60.0 / per_minute
        self._clock = clock
        self._free_at = clock()

    def wait_s(self) -> float:
        """Seconds until something may start; never negative."""
        return max(0.0, self._free_at - self._clock())

    def take(self, amount: float, *, waited_s: float = 0.0) -> None:
        """Use up ``amount`` by a start that happens now and has waited for so long."""
        since = self._clock() - min(waited_s, _CATCH_UP_S)
        self._free_at = max(self._free_at, since) + amount * self._seconds_each

    def refund(self, amount: float) -> None:
        """Give back what was taken too much; a negative amount takes what was taken too little."""
        self._free_at -= amount * self._seconds_each

    def change(self, per_minute: float) -> None:
        """Spread another budget from now on; what is taken already keeps its time."""
        self._seconds_each = 60.0 / per_minute
