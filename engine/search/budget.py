"""The budget of a search: what may still be spent, asked before each stage, not only between steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.settings import BudgetSettings
from engine.usage import Usage


@dataclass
class Budget:
    """Says how many more pairs a stage may evaluate.

    ``reserved_calls`` is kept back for the gate. Tokens and money are foreseen by the mean of the pairs evaluated so
    far, or by ``first_tokens`` (an estimate for one pair) before there are any.
    """

    settings: BudgetSettings
    usage: Usage
    cost: Callable[[], float]
    clock: Callable[[], float]
    reserved_calls: int = 0
    first_tokens: float = 0.0
    price_per_token: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def affordable(self, pairs: int) -> int:
        """Return how many of ``pairs`` new evaluations the budget still allows.

        >>> budget = Budget(BudgetSettings(max_metric_calls=10), Usage(), lambda: 0.0, lambda: 0.0, reserved_calls=4)
        >>> budget.affordable(20)
        6
        """
        s = self.settings
        if s.max_duration_s is not None and self.clock() - self._started >= s.max_duration_s:
            return 0
        allowed = float(pairs)
        done = self.usage.metric_calls
        reserved = self.reserved_calls
        if s.max_metric_calls is not None:
            allowed = min(allowed, s.max_metric_calls - done - reserved)
        tokens_each = self.usage.tokens / done if done and self.usage.tokens else self.first_tokens
        if s.max_tokens is not None and tokens_each > 0:
            allowed = min(allowed, (s.max_tokens - self.usage.tokens) / tokens_each - reserved)
        spent = self.cost()
        cost_each = spent / done if done and spent else self.first_tokens * self.price_per_token
        if s.max_cost is not None and cost_each > 0:
            allowed = min(allowed, (s.max_cost - spent) / cost_each - reserved)
        return max(0, int(allowed))
