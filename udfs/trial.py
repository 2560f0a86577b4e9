"""Is it load? A moment with half the window tells whether latency or refusals come from the calls that we send.

Latencies of language models differ with the length of what they write, so a rise alone says little. But an endpoint
that queues serves as many calls a second with half of them waiting, and answers each in half the time; one that does
not queue serves half as many. (Vegas, Brakmo and Peterson 1995, and the gradient of Netflix' concurrency-limits compare
latencies, too, but take every rise for a queue.)

And refusals that come as often with less in flight have nothing to do with load.
"""

from __future__ import annotations

import math

# Answers to a mean. With log-normal latencies (sigma 1) that of 32 is 18 % off; the first must be complete before slow
# start has filled a small endpoint's queue.
_FIRST_BLOCK, _BLOCK = 12, 32
# Rising so far is taken for granted: it is what a longer answer does to latency, or a fuller batch.
_TOLERATED = 2.0
# A trial's window. Less tells more: of 0.7 of it, an endpoint that has halved still refuses nearly a third.
HALF = 0.5
# Half the window of an endpoint that does not queue serves half as much; of one that does, as much.
_QUEUEING = 0.8
# Tasks begin their trials at the same times of the day: one of two hundred alone would change nothing.
_SLOT_S = 5.0
# A task that sees too little within this time learns nothing: others change meanwhile.
_LONGEST_S = 15.0
# Refused so much as often as before counts as the same: load would refuse nothing of half the window, but for chance.
_AS_OFTEN = 0.6


class LatencyWatch:
    """Compares the latency of each block of answers, as a geometric mean, with the usual one."""

    def __init__(self) -> None:
        self.base_s = 0.0
        self.latest_s = 0.0
        self.suspicious = False
        self._sum = 0.0
        self._count = 0

    def answered(self, latency_s: float, window: float) -> bool:
        """Take an answer; true when a block, a round trip's at least, is complete."""
        self._sum += math.log(max(0.0001, latency_s))
        self._count += 1
        if self._count < (max(_BLOCK, window) if self.base_s else _FIRST_BLOCK):
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
        self.slot = (wall // _SLOT_S + 1) * _SLOT_S if wall else 0.0
        self.running = False
        self.began_at = math.inf
        self.window = 0.0
        self.starts = 0
        self.refused = 0
        self._enough = enough
        self._sum = 0.0
        self._count = 0

    def begin(self, now: float, window: float, settle_s: float) -> None:
        """The window is halved now."""
        self.running = True
        # What others had too much in flight must drain first.
        self.began_at = now + settle_s
        self.window = window
        self.starts = self.refused = 0

    def start(self, now: float) -> None:
        """Count a call that starts."""
        self.starts += now >= self.began_at

    def refuse(self, started_at: float) -> None:
        """Take a refusal."""
        self.refused += started_at >= self.began_at

    def answered(self, started_at: float, latency_s: float) -> None:
        """Take an answer; those to calls from before the trial say nothing."""
        if started_at < self.began_at:
            return
        self._sum += math.log(max(latency_s, 1e-4))
        self._count += 1

    def over(self, now: float) -> bool:
        """Enough was seen, or it takes too long."""
        seen = self._count if self.reason == "latency" else self.starts
        # All tasks that began together see each other's trial through.
        if self.reason == "latency" and now - self.began_at < 2 * self.before:
            return False
        return seen >= self._enough or now - self.began_at > _LONGEST_S

    @property
    def latency_s(self) -> float:
        """The geometric mean of the latency with half the window."""
        return math.exp(self._sum / self._count) if self._count else self.before

    @property
    def is_queueing(self) -> bool:
        """Half the window serves as much, or nearly (Little's law: served = window / latency)."""
        return HALF * self.before / self.latency_s > _QUEUEING

    @property
    def is_noise(self) -> bool:
        """Half the window is refused as often: the refusals have nothing to do with load."""
        return self.starts >= self._enough and self.refused >= max(2.0, _AS_OFTEN * self.before * self.starts)
