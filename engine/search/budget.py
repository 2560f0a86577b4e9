"""The budget of a search: what may still be spent, asked before each stage, not only between steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.settings import BudgetSettings
from engine.usage import Usage

# A gate that can only say "kept" reads so many rows: enough to tell how the new model does with the old prompt.
_ROWS_WITHOUT_A_CHALLENGER = 500


def gate_rows(holdout_rows: int, budget: BudgetSettings, *, tokens_each: float, cost_each: float) -> int:
    """Return how many holdout rows the gate may read: all, or what half of each limit pays for, two prompts a row.

    ``tokens_each`` and ``cost_each`` are of one (prompt, row) pair.

    >>> gate_rows(1000, BudgetSettings(max_metric_calls=400), tokens_each=50, cost_each=0)
    100
    """
    rows = float(holdout_rows)
    if budget.max_metric_calls is not None:
        rows = min(rows, budget.max_metric_calls / 4)
    if budget.max_tokens is not None and tokens_each > 0:
        rows = min(rows, budget.max_tokens / 4 / tokens_each)
    if budget.max_cost is not None and cost_each > 0:
        rows = min(rows, budget.max_cost / 4 / cost_each)
    return max(1, int(rows))


def affordable_gate_rows(planned: int, budget: Budget, *, pair_tokens: float, challenged: bool) -> int:
    """Return how many of the ``planned`` rows the gate reads, now that the search has ended.

    ``pair_tokens`` is what one row takes for both prompts, as measured on val; ``challenged`` is False where no
    candidate was better than the seed, so that only the seed is evaluated.
    """
    rows = float(planned if challenged else min(planned, _ROWS_WITHOUT_A_CHALLENGER))
    settings, usage = budget.settings, budget.usage
    if settings.max_tokens is not None and pair_tokens > 0:
        rows = min(rows, (settings.max_tokens - usage.tokens) / pair_tokens)
    spent = budget.cost()
    if settings.max_cost is not None and spent > 0 and usage.tokens and pair_tokens > 0:
        rows = min(rows, (settings.max_cost - spent) / (spent / usage.tokens * pair_tokens))
    return max(1, int(rows))


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
