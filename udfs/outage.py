"""Is the endpoint down? And when to ask again, once in a while, whether it still is."""

from __future__ import annotations

import math
import random

# Nothing is served any more: so many failures, and for so many round trips no answer to a call that was sent later.
_DOWN_FAILURES, _DOWN_ROUND_TRIPS, _LEAST_DOWN_S = 8, 1.5, 0.1
# Single calls to an endpoint that serves nothing: the first and the longest wait of a task; of many tasks, each waits
# longer, up to a point.
_FIRST_PROBE_S, _LONGEST_PROBE_S, _LONGEST_OF_MANY_S, _MANY_TASKS = 0.25, 2.0, 10.0, 8
# What a refusal asks for is kept up to this: a wrong Retry-After must not idle a task whose endpoint serves again.
_LONGEST_KEPT_S = 5.0


class Outage:
    """Counts the failures since the first one that no later call's answer followed. Times in seconds of any clock.

    >>> outage = Outage(tasks=1, rng=random.Random(1))
    >>> [outage.failed(call / 20, call / 20, latency_s=0.2) for call in range(9)]
    [False, False, False, False, False, False, False, True, True]
    >>> outage.is_down, outage.answered(started_at=0.2), outage.answered(started_at=0.5), outage.is_down
    (True, False, True, False)
    """

    def __init__(self, *, tasks: int, rng: random.Random) -> None:
        self.retry_after_s = math.inf
        self._longest_s = min(_LONGEST_OF_MANY_S, _LONGEST_PROBE_S * max(1.0, tasks / _MANY_TASKS))
        self._rng = rng
        self._failures = 0
        self._since = self.down_at = math.inf
        self._wait_s = _FIRST_PROBE_S

    @property
    def is_down(self) -> bool:
        """Nothing is served now; single calls ask whether it still is so."""
        return self.down_at != math.inf

    @property
    def begins(self) -> bool:
        """The failure that was counted last is the first one since anything was answered."""
        return self._failures == 1

    def failed(self, now: float, started_at: float, latency_s: float) -> bool:
        """Count a failure; true when the endpoint is down."""
        if self.is_down:
            if started_at >= self.down_at:
                kept_s = min(self.retry_after_s, _LONGEST_KEPT_S) if self.retry_after_s < math.inf else 0.0
                self._wait_s = min(2 * self._wait_s, max(self._longest_s, kept_s))
            return True
        if not self._failures:
            self._since = started_at
        self._failures += 1
        failing_s = now - self._since
        if self._failures >= _DOWN_FAILURES and failing_s >= max(_DOWN_ROUND_TRIPS * latency_s, _LEAST_DOWN_S):
            self.down_at = now
            self._wait_s = _FIRST_PROBE_S
        return self.is_down

    def answered(self, started_at: float) -> bool:
        """Take an answer; true when it is the one that ends the outage."""
        was_down = self.is_down
        if started_at > (self.down_at if was_down else self._since):
            self._failures = 0
            self._since = self.down_at = self.retry_after_s = math.inf
        return was_down and not self.is_down

    def next_probe_s(self) -> float:
        """Seconds until the next single call, so that tasks don't ask all at once."""
        return self._wait_s * self._rng.uniform(0.75, 1.25)
