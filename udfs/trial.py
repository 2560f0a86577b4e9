"""Is it load? A moment with half the window tells whether latency or refusals come from the calls that we send.

Latencies of language models differ with the length of what they write, so a rise alone says little. But an endpoint
that queues serves as many calls a second with half of them waiting, and answers each in half the time; one that does not
queue serves half as many. (The gradient of Netflix' concurrency-limits compares latencies, too, but never asks why.)
"""

from __future__ import annotations

import math

# A mean over fewer answers says nothing: with log-normal latencies (sigma 1) that of 20 is 22 % off.
_FEWEST_ANSWERS = 20
# Rising so far is taken for granted: it is what a longer answer does to latency, or a fuller batch.
_TOLERATED = 2.0
# Tasks begin their trials at the same times of the day: one of two hundred alone would change nothing.
_SLOT_S = 5.0


class LatencyWatch:
    """Compares the latency of each block of answers, as a geometric mean, with the usual one."""

    def __init__(self) -> None:
        self.base_s = 0.0
        self.latest_s = 0.0
        self.suspicious = False
        self._sum = 0.0
        self._count = 0

    def answered(self, latency_s: float, window: float) -> bool:
        """Take an answer; true when a block is complete."""
        self._sum += math.log(max(0.0001, latency_s))
        self._count += 1
        if self._count < _FEWEST_ANSWERS or self._count < window:
            return False
        self.latest_s = math.exp(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if not self.base_s:
            self.base_s = self.latest_s
        elif self.latest_s < self.base_s:
            # Slowly, because the least of many means is an accident.
            self.base_s += (self.latest_s - self.base_s) / 4
        self.suspicious = self.latest_s > _TOLERATED * self.base_s
        return True

    def rebase(self, latency_s: float) -> None:
        """Take this latency for the usual one."""
        self.base_s = latency_s
        self.confirmed()

    def confirmed(self) -> None:
        """Start a new block: the window is another one."""
        self.suspicious = False
        self._sum, self._count = 0.0, 0


class Trial:
    """One moment with half the window. ``before`` is what it is compared with: a latency in seconds, or a share."""

    def __init__(self, reason: str, before: float, enough: int, wall: float) -> None:
        self.reason = reason
        self.before = before
        self.slot = (wall // _SLOT_S + 1) * _SLOT_S
        self.running = False
        self.began_at = math.inf
        self.window = 0.0
        self.starts = 0
        self.refused = 0
        self._enough = enough
        self._sum = 0.0
        self._count = 0

    def begin(self, now: float, window: float) -> None:
        """The window is halved now."""
        self.running = True
        self.began_at = now
        self.window = window
        self.starts = self.refused = 0

    def answered(self, latency_s: float) -> None:
        """Take an answer to a call that was started with half the window."""
        self._sum += math.log(max(latency_s, 1e-4))
        self._count += 1

    def over(self, now: float) -> bool:
        """Enough was seen, or it takes too long."""
        seen = self._count if self.reason == "latency" else self.starts
        return seen >= self._enough or now - self.began_at > 10.0

    @property
    def latency_s(self) -> float:
        """The geometric mean of the latency with half the window."""
        return math.exp(self._sum / self._count) if self._count else self.before

    @property
    def is_queueing(self) -> bool:
        """Half the window serves as much, within a tenth (Little's law: served = window / latency)."""
        return 0.5 * self.before / self.latency_s > 0.9
