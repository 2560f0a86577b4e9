"""The budget of a search: what may still be spent, asked before each stage, not only between steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.settings import BudgetSettings
from engine.usage import Usage
from udfs.allowance import Allowance

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


def affordable_pairs(budget: Budget, *, tokens_each: float) -> float:
    """Return how many (prompt, row) pairs of ``tokens_each`` all that is left pays for; infinite without limits."""
    settings, usage = budget.settings, budget.usage
    pairs = float("inf")
    if settings.max_metric_calls is not None:
        pairs = min(pairs, settings.max_metric_calls - usage.metric_calls)
    if settings.max_tokens is not None and tokens_each > 0:
        pairs = min(pairs, (settings.max_tokens - usage.tokens) / tokens_each)
    spent = budget.cost()
    if settings.max_cost is not None and spent > 0 and usage.tokens and tokens_each > 0:
        pairs = min(pairs, (settings.max_cost - spent) / (spent / usage.tokens * tokens_each))
    return max(0.0, pairs)


@dataclass
class Budget:
    """Says how many more pairs a stage may evaluate, and what they may use.

    ``reserved_calls`` is kept back for the gate, in calls, tokens, money and time. Tokens and money are foreseen by the
    mean of the pairs evaluated so far, or by ``first_tokens`` (an estimate for one pair) before there are any.
    ``clock`` counts from when the budget is made; ``wall_clock`` is Unix time, which executors share.
    """

    settings: BudgetSettings
    usage: Usage
    cost: Callable[[], float]
    clock: Callable[[], float]
    reserved_calls: int = 0
    first_tokens: float = 0.0
    price_per_token: float = 0.0
    wall_clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._started = self.clock()

    def affordable(self, pairs: int) -> int:
        """Return how many of ``pairs`` new evaluations the budget still allows.

        >>> budget = Budget(BudgetSettings(max_metric_calls=10), Usage(), lambda: 0.0, lambda: 0.0, reserved_calls=4)
        >>> budget.affordable(20)
        6
        """
        s = self.settings
        left_s = self._left_s(self.reserved_calls)
        if left_s is not None and left_s <= 0:
            return 0
        allowed = float(pairs)
        if s.max_metric_calls is not None:
            allowed = min(allowed, s.max_metric_calls - self.usage.metric_calls - self.reserved_calls)
        if s.max_tokens is not None and self._tokens_each > 0:
            allowed = min(allowed, (s.max_tokens - self.usage.tokens) / self._tokens_each - self.reserved_calls)
        if s.max_cost is not None and self._cost_each > 0:
            allowed = min(allowed, (s.max_cost - self.cost()) / self._cost_each - self.reserved_calls)
        return max(0, int(allowed))

    def allowance(self, *, for_gate: bool = False) -> Allowance:
        """Return what a stage's tasks may use, wherever they run; the gate's may use what was kept back for it.

        >>> budget = Budget(BudgetSettings(max_tokens=900), Usage(), lambda: 0.0, lambda: 0.0, 4, first_tokens=100.0)
        >>> budget.allowance().tokens, budget.allowance(for_gate=True).tokens
        (500.0, 900.0)
        """
        s = self.settings
        reserved = 0 if for_gate else self.reserved_calls
        left_s = self._left_s(reserved)
        tokens, cost = self._tokens_each * reserved, self._cost_each * reserved
        return Allowance(
            None if s.max_tokens is None else max(0.0, s.max_tokens - self.usage.tokens - tokens),
            None if s.max_cost is None else max(0.0, s.max_cost - self.cost() - cost),
            None if left_s is None else self.wall_clock() + left_s,
        )

    @property
    def _tokens_each(self) -> float:
        done = self.usage.metric_calls
        return self.usage.tokens / done if done and self.usage.tokens else self.first_tokens

    @property
    def _cost_each(self) -> float:
        done, spent = self.usage.metric_calls, self.cost()
        return spent / done if done and spent else self.first_tokens * self.price_per_token

    def _left_s(self, reserved_calls: int) -> float | None:
        """Seconds left when so many calls are still to be made; at most half the time is kept back for them."""
        whole = self.settings.max_duration_s
        if whole is None:
            return None
        elapsed, done = self.clock() - self._started, self.usage.metric_calls
        reserved = min(whole / 2, reserved_calls * elapsed / done) if done else 0.0
        return whole - reserved - elapsed
