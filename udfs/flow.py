"""Flow control: how many calls a task has in flight at one endpoint, and how fast it starts them.

The seam is :class:`FlowControl`; :class:`AdaptiveFlow` finds the endpoint's capacity by itself, within the task's share
of the limits. Every call goes through ``acquire`` before it is sent, and ``settle`` or ``cancel`` when it has ended.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from udfs.capacity import Capacity, Learnt
from udfs.endpoint import DEFAULT_MAX_CONCURRENCY, Limits
from udfs.errors import ErrorKind
from udfs.pacer import Clock, Pacer
from udfs.parts import Place

Sleep = Callable[[float], Awaitable[None]]

# What was learnt about a place is where the next task in this process starts, while it is no older than this.
_REMEMBERED_S = 60.0
# It is written down so often: often enough for tasks of a second, and no cost for a call.
_WRITTEN_EVERY_S = 0.5
# The endpoint has too much to do.
_OVERLOAD = frozenset({ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED, ErrorKind.TIMEOUT})
# Something is broken, which is no sign of load unless nothing else happens.
_BROKEN = frozenset({ErrorKind.SERVER_ERROR, ErrorKind.NETWORK, ErrorKind.BAD_RESPONSE})

_learnt: dict[Place, Learnt] = {}


class Permit:
    """Leave to send one call, estimated at ``tokens``, since ``started_at`` of the flow's clock. Settled once."""

    __slots__ = ("started_at", "tokens")

    def __init__(self, started_at: float, tokens: int) -> None:
        self.started_at = started_at
        self.tokens = tokens


class FlowControl(Protocol):
    """Decides when a call may start. One instance a task and place; used from one event loop only."""

    @property
    def window(self) -> int:
        """How many calls are worth having under way now; at least 1."""
        ...

    @property
    def in_flight(self) -> int:
        """How many calls have a permit now."""
        ...

    @property
    def refused(self) -> int:
        """How many calls were refused with 429 so far."""
        ...

    async def acquire(self, tokens: int) -> Permit:
        """Wait until one more call, estimated at so many tokens, may start. Whoever is cancelled here holds nothing."""
        ...

    def settle(self, permit: Permit, *, tokens: int, failure: ErrorKind | None, retry_after_s: float | None) -> None:
        """Give the place back and learn from how the call ended.

        ``tokens`` is what the answer's usage said (0 where there was no answer); ``failure`` is ``None`` for an
        answer; ``retry_after_s`` what a refusal asked for.
        """
        ...

    def cancel(self, permit: Permit) -> None:
        """Give place and tokens of a call back that was not sent, or not waited for; nothing is learnt."""
        ...

    def limit(self, limits: Limits) -> None:
        """Keep another share of the cluster's limits from now on; calls under way are not touched."""
        ...


class AdaptiveFlow:
    """Keeps ``limits``, this task's share, and within them as many calls in flight as the endpoint serves.

    Clock and sleep are in seconds; ``wall`` is seconds since the epoch, which all tasks of a cluster share.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        tasks: int,
        clock: Clock,
        sleep: Sleep,
        rng: random.Random,
        wall: Clock = time.time,
        place: Place | None = None,
    ) -> None:
        self.refused = 0
        self._clock = clock
        self._sleep = sleep
        self._tasks = tasks
        self._place = place
        now = clock()
        learnt = _learnt.get(place) if place else None
        if learnt is not None and now - learnt.at > _REMEMBERED_S:
            learnt = None
        self._capacity = Capacity(most=_most(limits), tasks=tasks, now=now, rng=rng, wall=wall, learnt=learnt)
        self._places = self._capacity.places
        self._requests: Pacer | None = None
        self._tokens: Pacer | None = None
        self._waiting: deque[tuple[asyncio.Future[Permit], int, float]] = deque()
        self._wakes_at = float("inf")
        self._waker: asyncio.Task[None] | None = None
        self._written_at = now
        self.limit(limits)

    @property
    def window(self) -> int:
        """How many calls are worth having under way now; at least 1."""
        return self._places.limit

    @property
    def in_flight(self) -> int:
        """How many calls have a permit now."""
        return self._places.in_flight

    async def acquire(self, tokens: int) -> Permit:
        """Start at once where a place is free and the pace allows it; else wait in line."""
        now = self._clock()
        if not self._waiting and self._wait_s(now) <= 0:
            return self._start(now, tokens, 0.0)
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, tokens, now))
        if len(self._waiting) == 1:
            self._let_in()
        try:
            return await turn
        except asyncio.CancelledError:
            # Its turn may have come in the very moment in which it was cancelled.
            if turn.done() and not turn.cancelled():
                self.cancel(turn.result())
            else:
                turn.cancel()
            raise

    def settle(self, permit: Permit, *, tokens: int, failure: ErrorKind | None, retry_after_s: float | None) -> None:
        """Give the place back, correct the token budget by what was really used, and learn."""
        if failure is ErrorKind.CREDENTIALS:  # refused at the door, long before there was any work to do
            self.cancel(permit)
            return
        now = self._clock()
        if self._tokens:
            self._tokens.refund(permit.tokens - tokens)
        if failure is None:
            self._capacity.answered(now, permit.started_at)
        elif failure in _OVERLOAD:
            self.refused += failure is ErrorKind.RATE_LIMITED
            self._capacity.refused(now, permit.started_at, retry_after_s)
        elif failure in _BROKEN:
            self._capacity.failed(now, permit.started_at)
        else:
            self._capacity.answered(now, permit.started_at)
        if now - self._written_at > _WRITTEN_EVERY_S and self._place is not None:
            self._written_at = now
            _learnt[self._place] = self._capacity.learnt(now)
        if self._waiting:
            self._let_in()

    def cancel(self, permit: Permit) -> None:
        """Give the place and the tokens back."""
        self._capacity.cancelled(self._clock())
        if self._tokens:
            self._tokens.refund(permit.tokens)
        self._let_in()

    def limit(self, limits: Limits) -> None:
        """Keep another share from now on."""
        self._capacity.limit(_most(limits))
        self._requests = self._paced(self._requests, limits.requests_per_minute)
        self._tokens = self._paced(self._tokens, limits.tokens_per_minute)
        self._let_in()

    def _paced(self, pacer: Pacer | None, per_minute: float | None) -> Pacer | None:
        if per_minute is None:
            return None
        if pacer is None:
            return Pacer(per_minute, self._clock)
        pacer.change(per_minute)
        return pacer

    def _wait_s(self, now: float) -> float:
        wait_s = self._places.wait_s(now)
        if self._requests:
            wait_s = max(wait_s, self._requests.wait_s())
        if self._tokens:
            wait_s = max(wait_s, self._tokens.wait_s())
        return wait_s

    def _start(self, now: float, tokens: int, waited_s: float) -> Permit:
        self._capacity.started(now)
        if self._requests:
            self._requests.take(1, waited_s=waited_s)
        if self._tokens:
            self._tokens.take(tokens, waited_s=waited_s)
        return Permit(now, tokens)

    def _let_in(self) -> None:
        """Start what waits and may start; make sure to come back when the next one may."""
        waiting = self._waiting
        while waiting:
            turn, tokens, since = waiting[0]
            if turn.done():  # cancelled
                waiting.popleft()
                continue
            now = self._clock()
            wait_s = self._wait_s(now)
            if wait_s > 0:
                self._come_back(now, wait_s)
                return
            waiting.popleft()
            turn.set_result(self._start(now, tokens, now - since))

    def _come_back(self, now: float, wait_s: float) -> None:
        if now + wait_s >= self._wakes_at or wait_s == float("inf"):
            return
        if self._waker is not None:
            self._waker.cancel()
        self._wakes_at = now + wait_s
        self._waker = asyncio.get_running_loop().create_task(self._wake(wait_s))

    async def _wake(self, wait_s: float) -> None:
        await self._sleep(wait_s)
        self._wakes_at, self._waker = float("inf"), None
        self._let_in()


def flow_control(
    place: Place,
    limits: Limits,
    *,
    tasks: int,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
    rng: random.Random | None = None,
) -> FlowControl:
    """Return the flow control of one of ``tasks`` tasks at ``place``, which is (provider, base_url, name).

    ``limits`` is this task's share already. What this process learnt at the place within the last minute is where it
    starts from.
    """
    return AdaptiveFlow(
        limits,
        tasks=tasks,
        clock=clock,
        sleep=sleep,
        rng=rng or random.Random(),  # noqa: S311 - spreads out starts, no cryptography
        place=place,
    )


def _most(limits: Limits) -> int:
    return limits.max_concurrency or DEFAULT_MAX_CONCURRENCY
