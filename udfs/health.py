"""Health of one endpoint as a process sees it: says when there is no use in asking on.

An outage that passes is survived; an endpoint that is dead, or refuses the credentials or every request, ends the run
within a minute instead of burning every row's retries for hours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from udfs.errors import ErrorKind, RowError

# An endpoint is dead when nothing but failures came back for so long. Restarts and failovers take 20 s and more; and a
# person wants to be told within a minute.
DEAD_AFTER_S = 40.0
# An endpoint whose answers take longer than that is given the time of so many of them.
_DEAD_AFTER_ANSWERS = 3.0
# Fewer failures than this prove nothing, however long they took.
_FEW = 5
# So many refusals of the credentials in a row are no hiccup.
_CREDENTIAL_REFUSALS = 3
# What an endpoint that has scaled to zero answers while it starts: 503, 504, or nothing in time.
_COLD = frozenset({ErrorKind.OVERLOADED, ErrorKind.TIMEOUT})
# One that answered a moment ago is up, and short of places.
_UP_S = 10.0
# An endpoint that has never answered and rejected so many requests knows no such model, or no such API.
_REJECTIONS = 50


class Health:
    """Learns from the end of each attempt; used from one event loop. ``answered_at`` is Unix time, 0 before.

    ``warm_up_s`` is how long an endpoint that scales to zero may be away while it starts; 0 for one that does not.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        warm_up_s: float = 0.0,
    ) -> None:
        self._url = url
        self._clock = clock
        self._wall_clock = wall_clock
        self._warm_up_s = warm_up_s
        self._failing_since: float | None = None
        self._failures = 0
        self._credential_refusals = 0
        self._rejections = 0
        self._last: RowError | None = None
        self._lived_at = clock()
        self._slowest_s = 0.0
        self._cold_at = -math.inf
        self.answered_at = 0.0

    def answered(self, *, took_s: float = 0.0) -> None:
        """An answer came after ``took_s`` seconds, or a failure of the prompt's own: the endpoint lives."""
        self._slowest_s = max(self._slowest_s, took_s)
        self.answered_at = self._wall_clock()
        self._lived_at = self._clock()
        self._failing_since = None
        self._failures = self._credential_refusals = self._rejections = 0

    def failed(self, kind: ErrorKind, message: str, *, took_s: float = 0.0) -> None:
        """An attempt failed after ``took_s`` seconds. A refusal by rate says that the endpoint lives."""
        self._last = RowError(kind, message)
        if kind is ErrorKind.RATE_LIMITED:
            self._lived_at = self._clock()
            self._failing_since = None
            self._failures = 0
        elif kind is ErrorKind.CREDENTIALS:
            self._credential_refusals += 1
        elif kind is ErrorKind.REJECTED:
            self._rejections += 1
        elif kind.is_retryable:
            self._failures += 1
            if kind in _COLD:
                self._cold_at = self._clock()
            if self._failing_since is None:
                # From when it was sent: an endpoint that lets every call hang is dead after the first time-outs.
                self._failing_since = max(self._clock() - took_s, self._lived_at)

    @property
    def is_warming_up(self) -> bool:
        """It may scale to zero, fails as one that starts does, and is still given time to.

        >>> health = Health("http://model", warm_up_s=600.0)
        >>> health.failed(ErrorKind.OVERLOADED, "HTTP 503")
        >>> health.is_warming_up
        True
        """
        now = self._clock()
        if self._last is None or self._failing_since is None or now - self._failing_since >= self._warm_up_s:
            return False
        is_up = self.answered_at and now - self._lived_at < _UP_S
        # A lost connection between two 503s is no other story.
        return not is_up and (self._last.kind in _COLD or now - self._cold_at < DEAD_AFTER_S)

    def verdict(self) -> RowError | None:
        """Return why there is no use in asking on; ``None`` while there is.

        >>> health = Health("http://model")
        >>> for _ in range(3): health.failed(ErrorKind.CREDENTIALS, "HTTP 401")
        >>> health.verdict().message
        'http://model refuses the credentials (HTTP 401)'
        """
        last = self._last.message if self._last else ""
        if self._credential_refusals >= _CREDENTIAL_REFUSALS:
            return RowError(ErrorKind.CREDENTIALS, f"{self._url} refuses the credentials ({last})")
        if self._rejections >= _REJECTIONS and not self.answered_at:
            return RowError(ErrorKind.REJECTED, f"{self._url} rejects every request ({last})")
        if self._failing_since is not None and self._failures >= _FEW:
            down_s = self._clock() - self._failing_since
            if down_s >= max(DEAD_AFTER_S, _DEAD_AFTER_ANSWERS * self._slowest_s) and not self.is_warming_up:
                kind = self._last.kind if self._last else ErrorKind.NETWORK
                return RowError(kind, f"{self._url} has answered nothing for {down_s:.0f} s ({last})")
        return None
