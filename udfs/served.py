"""How many calls a second were answered lately."""

from __future__ import annotations

from collections import deque

# The rate is that of the last second, at least: limits by the second show in nothing shorter.
_SPAN_S, _PARTS = 1.0, 10


class Served:
    """Counts answers; keeps a total for each tenth of the span.

    >>> served = Served(0.0)
    >>> for call in range(30):
    ...     served.one_more(call / 10, latency_s=0.2)
    >>> round(served.per_s(2.9))
    10
    """

    def __init__(self, now: float) -> None:
        self._total = self._kept_total = 0
        self._kept_at = now
        self._kept: deque[tuple[float, int]] = deque([(now, 0)], maxlen=_PARTS + 1)

    def one_more(self, now: float, latency_s: float) -> None:
        """Count an answer. The span is a second, two round trips or twenty answers, whichever is longest."""
        self._total += 1
        since_s = now - self._kept_at
        if since_s > _SPAN_S / _PARTS and self._total - self._kept_total >= 2 and since_s > 2 * latency_s / _PARTS:
            self._kept.append((now, self._total))
            self._kept_at, self._kept_total = now, self._total

    def per_s(self, now: float) -> float:
        """Answers a second."""
        at, total = self._kept[0]
        return (self._total - total) / max(now - at, _SPAN_S / _PARTS)
