"""The budget of a batch: an optimization begins only when all that it may take fits into what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.batch.line import BatchLine
from engine.errors import NotBegun
from engine.estimate import Estimate
from engine.settings import BudgetSettings

# An interrupted batch must not wait longer than this for a thread that waits here.
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Amounts:
    """Metric calls, tokens and money."""

    metric_calls: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.metric_calls + other.metric_calls, self.tokens + other.tokens, self.cost + other.cost)

    @classmethod
    def used(cls, line: BatchLine) -> Amounts:
        """What one that has ended took; of one that an earlier start ended, too."""
        return cls(line.metric_calls, line.tokens, line.cost or 0.0)

    @classmethod
    def at_most(cls, estimate: Estimate, own: BudgetSettings) -> Amounts:
        """What one may take: its estimate at the most, within a budget of its own."""
        calls = float(estimate.parts[0].calls_high)
        tokens = min(estimate.tokens_high, own.max_tokens or estimate.tokens_high)
        cost = estimate.cost_high or 0.0
        return cls(calls, tokens, min(cost, own.max_cost or cost))


class BatchBudget:
    """What a batch may spend. Thread-safe.

    No run is cut short for the sum: each gets a verdict as good as it would get alone, or does not begin.
    """

    def __init__(
        self, limits: BudgetSettings, before: Iterable[BatchLine] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits, self._clock = limits, clock
        self._began_at = clock()
        self._changed = threading.Condition()
        self._spent = sum((Amounts.used(line) for line in before), Amounts())
        self._reserved: dict[str, Amounts] = {}

    def reserve(self, key: str, wanted: Amounts, *, is_interrupted: Callable[[], bool] = lambda: False) -> None:
        """Set ``wanted`` aside for one that is to begin; waits while those that run may leave enough of it over.

        Raises:
            NotBegun: what is left does not cover it, and nobody who runs could leave more.
            KeyboardInterrupt: the batch was interrupted meanwhile.
        """
        with self._changed:
            while True:
                if is_interrupted():
                    raise KeyboardInterrupt
                lacking = self._lacking(wanted, self._spent + sum(self._reserved.values(), Amounts()))
                if lacking is None:
                    self._reserved[key] = wanted
                    return
                hopeless = self._lacking(wanted, self._spent)
                if hopeless or not self._reserved:
                    raise NotBegun(f"not begun: {hopeless or lacking}; raise optimizations.budget to go on")
                self._changed.wait(_LOOK_EVERY_S)

    def settle(self, key: str, line: BatchLine) -> None:
        """Count what one took that has ended, however it did."""
        with self._changed:
            if self._reserved.pop(key, None) is not None:
                self._spent += Amounts.used(line)
            self._changed.notify_all()

    def _lacking(self, wanted: Amounts, gone: Amounts) -> str | None:
        limits = self._limits
        if limits.max_duration_s is not None and self._clock() - self._began_at >= limits.max_duration_s:
            return f"the {limits.max_duration_s:g} s of the batch are over"
        for name in ("metric_calls", "tokens", "cost"):
            limit = getattr(limits, f"max_{name}")
            if limit is not None and getattr(gone + wanted, name) > limit:
                asked, left = getattr(wanted, name), max(0.0, limit - getattr(gone, name))
                return f"it may take {asked:,.6g} {name.replace('_', ' ')}, and {left:,.6g} of the batch's are left"
        return None
