"""Bounds many waits by the same number of seconds with one timer, instead of a timer each."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Timeouts:
    """Hands out bounds of ``seconds`` each; used from one event loop.

    A timer a call, made and cancelled thousands of times a second, was an eighth of what a call costs. All bounds here
    are equally long, so the one begun first ends first, and one timer, set for the oldest, serves them all.

    >>> async def slow(timeouts):
    ...     async with timeouts.one():
    ...         await asyncio.sleep(60)
    >>> asyncio.run(slow(Timeouts(0.01)))
    Traceback (most recent call last):
    TimeoutError
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waits: dict[_Wait, None] = {}  # ordered by their beginnings
        self._timer: asyncio.TimerHandle | None = None

    def one(self) -> _Wait:
        """Return an asynchronous context manager whose block is cancelled after ``seconds``.

        Leaving it then raises ``TimeoutError``; a cancellation by anybody else passes as it is.
        """
        return _Wait(self)

    def begin(self, wait: _Wait, loop: asyncio.AbstractEventLoop) -> float:
        """Bound ``wait`` from now on; return when it ends, by the loop's clock."""
        ends_at = loop.time() + self.seconds
        self._waits[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._sweep, loop)
        return ends_at

    def end(self, wait: _Wait) -> None:
        """Bound ``wait`` no longer."""
        self._waits.pop(wait, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        for wait in list(self._waits):
            if wait.ends_at > now:
                self._timer = loop.call_at(wait.ends_at, self._sweep, loop)
                return
            self._waits.pop(wait)
            wait.expire()


class _Wait:
    """One bounded block, entered once, as :func:`asyncio.timeout` does it."""

    __slots__ = ("_cancelling", "_expired", "_task", "_timeouts", "ends_at")

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._expired = False
        self.ends_at = 0.0

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    async def __aenter__(self) -> Self:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout bounds a task, and none is running")
        self._task = task
        self._cancelling = task.cancelling()
        self.ends_at = self._timeouts.begin(self, task.get_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if not self._expired:
            self._timeouts.end(self)
        elif self._task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
