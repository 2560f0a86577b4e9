"""Flow control: how many calls a task has in flight at one endpoint, and how fast it starts them.

The seam is :class:`FlowControl`; :class:`FixedWindow` keeps a fixed window and an even pace. Every call goes through
``acquire`` before it is sent and ``settle`` when it is answered or failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from udfs.endpoint import DEFAULT_MAX_CONCURRENCY, Limits
from udfs.errors import ErrorKind

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

# What one task may have in flight when no limit is configured: 8 tasks reach the cluster's default of 512.
DEFAULT_WINDOW = 64


class FlowControl(Protocol):
    """Decides when a call may start. One instance a task and endpoint; used from one event loop only."""

    @property
    def window(self) -> int:
        """How many calls may be in flight now."""
        ...

    async def acquire(self, tokens: int) -> None:
        """Wait until one more call, estimated at so many tokens, may start."""
        ...

    def settle(self, *, estimated: int, actual: int, failure: ErrorKind | None, retry_after_s: float | None) -> None:
        """Give the place back and learn from how the call ended.

        ``estimated`` is what was given to :meth:`acquire`; ``actual`` is what the answer's usage said (0 where there
        was no answer); ``failure`` is ``None`` for an answer.
        """
        ...


class Pacer:
    """Spreads a budget per minute evenly: each start reserves its share of time, so nothing bursts.

    ``reserve`` returns the seconds to wait before the reserved amount may be used.

    >>> now = [0.0]
    >>> pacer = Pacer(per_minute=60, clock=lambda: now[0])
    >>> pacer.reserve(1), pacer.reserve(1), pacer.reserve(1)
    (0.0, 1.0, 2.0)
    """

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._seconds_each = 60.0 / per_minute
        self._clock = clock
        self._free_at = clock()

    def reserve(self, amount: float) -> float:
        """Reserve ``amount`` and return the seconds until it may be used."""
        now = self._clock()
        start = max(self._free_at, now)
        self._free_at = start + amount * self._seconds_each
        return start - now

    def refund(self, amount: float) -> None:
        """Give back what was reserved too much; a negative amount takes what was reserved too little."""
        self._free_at -= amount * self._seconds_each

    def hold(self, seconds: float) -> None:
        """Reserve nothing for so many seconds from now on; what is reserved already starts at its time."""
        self._free_at = max(self._free_at, self._clock() + seconds)


class FixedWindow:
    """A fixed number of calls in flight, starts paced to this task's share of the limits."""

    def __init__(self, limits: Limits, *, clock: Clock, sleep: Sleep) -> None:
        self._window = limits.max_concurrency or min(DEFAULT_WINDOW, DEFAULT_MAX_CONCURRENCY)
        self._places = asyncio.Semaphore(self._window)
        self._sleep = sleep
        self._requests = Pacer(limits.requests_per_minute, clock) if limits.requests_per_minute else None
        self._tokens = Pacer(limits.tokens_per_minute, clock) if limits.tokens_per_minute else None

    @property
    def window(self) -> int:
        """How many calls may be in flight."""
        return self._window

    async def acquire(self, tokens: int) -> None:
        """Wait for a place in the window, then for the pace."""
        await self._places.acquire()
        wait_s = 0.0
        if self._requests:
            wait_s = self._requests.reserve(1)
        if self._tokens:
            wait_s = max(wait_s, self._tokens.reserve(tokens))
        if wait_s > 0:
            try:
                await self._sleep(wait_s)
            except BaseException:
                self._places.release()
                raise

    def limit(self, limits: Limits) -> None:
        """Set a new share of the limits."""
        del limits

    def settle(self, *, estimated: int, actual: int, failure: ErrorKind | None, retry_after_s: float | None) -> None:
        """Give the place back; correct the token budget by what was really used."""
        self._places.release()
        if self._tokens:
            self._tokens.refund(estimated - actual)
        if failure is ErrorKind.RATE_LIMITED and self._requests and retry_after_s:
            # A refusal under a configured rate means that somebody else uses the endpoint too: one pause, shared by
            # the task's later starts, but never the whole Retry-After, which is the refused request's to keep.
            self._requests.hold(min(retry_after_s, 1.0))
