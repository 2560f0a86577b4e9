"""What one evaluation may still spend, and a task's purse: each call is reserved before it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Allowance:
    """What an evaluation may spend at most; ``None`` is no limit. ``until`` is a Unix time.

    >>> Allowance(tokens=1000).share(4).tokens
    250.0
    """

    tokens: float | None = None
    cost: float | None = None
    until: float | None = None

    def share(self, tasks: int) -> Allowance:
        """Return the part that one of ``tasks`` equal tasks may spend; time is the same for all."""
        return Allowance(
            None if self.tokens is None else self.tokens / tasks,
            None if self.cost is None else self.cost / tasks,
            self.until,
        )


class Purse:
    """Holds a task's allowance. A call is reserved at its estimate before it starts and settled at what it took.

    So a task overspends by no more than its estimates were short, over the calls that it had in flight. Used from one
    event loop.
    """

    def __init__(self, allowance: Allowance, *, clock: Callable[[], float]) -> None:
        self._allowance = allowance
        self._clock = clock
        self._tokens = 0.0
        self._cost = 0.0
        self._reserved = 0
        self._settled = asyncio.Event()

    @property
    def is_limited(self) -> bool:
        """False where nothing is limited, so that nobody need estimate anything."""
        return self._allowance != Allowance()

    async def reserve(self, tokens: float, cost: float) -> bool:
        """Reserve a call; False when it is not covered.

        While calls in flight may still turn out cheaper than their estimates, this waits for them.

        >>> import asyncio
        >>> async def spend():
        ...     purse = Purse(Allowance(tokens=100), clock=lambda: 0.0)
        ...     first = await purse.reserve(60, 0.0)
        ...     purse.settle(60, 0.0, tokens=30, cost=0.0)
        ...     return first, await purse.reserve(60, 0.0), purse.settle(60, 0.0, tokens=60, cost=0.0)
        >>> asyncio.run(spend())
        (True, True, None)
        """
        while self._in_time():
            if self._covers(tokens, cost):
                self._tokens += tokens
                self._cost += cost
                self._reserved += 1
                return True
            if not self._reserved:
                return False
            self._settled.clear()
            await self._settled.wait()
        return False

    def settle(self, reserved_tokens: float, reserved_cost: float, *, tokens: float, cost: float) -> None:
        """Replace a reservation by what the call took."""
        self._tokens += tokens - reserved_tokens
        self._cost += cost - reserved_cost
        self._reserved -= 1
        self._settled.set()

    def _covers(self, tokens: float, cost: float) -> bool:
        limits = self._allowance
        return (limits.tokens is None or self._tokens + tokens <= limits.tokens) and (
            limits.cost is None or self._cost + cost <= limits.cost
        )

    def _in_time(self) -> bool:
        return self._allowance.until is None or self._clock() < self._allowance.until
