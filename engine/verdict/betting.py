"""Evidence that may be looked at after every row: bets against "the mean difference is not above this".

A gambler who starts with 1 and stakes a fixed share of what it has on each row's difference being above ``minimum``
can't get rich where that is false: the chance that it ever holds ``1 / a`` is at most ``a``, whenever and however often
one looks (Ville's inequality). Its wealth is therefore a p-value that stays valid under any rule for stopping, for
differences of any shape within -1 and 1 (ties, skew, few rows, judges' noise), and inverted over ``minimum`` a
confidence sequence (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 86(1),
2024, arXiv 2010.09686, sections 4 and B.5; Ville, 1939).

The stakes are a mixture: the capital is spread over 24 constant shares, and what each has at the end is added up.
That costs a little against the best share in hindsight, and makes the wealth depend on the groups of equal differences
alone, in whatever order the rows came.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.statistics import Differences

# Shares of the capital that are staked, as parts of what could be lost. The best share for a gain g where a part v of
# the rows differ is about g / v: from a gain of 0.01 where half of all rows differ to one that is sure.
_STAKES: NDArray[np.float64] = np.geomspace(0.02, 0.99, 24)
# Halvings of [-1, 1] in looking for an interval's end: to 2e-6.
_HALVINGS = 20


def log_wealth(differences: Differences, *, minimum: float, largest_weight: float = 1.0) -> float:
    """Return the logarithm of what betting on a mean difference above ``minimum`` has made of 1.

    Differences and ``minimum`` lie between -1 and 1. Rows are bets by their weight; ``largest_weight`` is the largest
    that any row of the population has, seen or not, so that no row could have lost more than the stake.

    >>> round(log_wealth(Differences.of([1.0] * 10), minimum=0.0), 2)
    4.37
    >>> round(abs(log_wealth(Differences.of([0.0] * 10), minimum=0.0)), 6)
    0.0
    """
    if not len(differences.values):
        return 0.0
    # The most that a row can lose is 1 + minimum; a bet that can't lose has no share that would be too large.
    risk = max(1.0 + minimum, 1e-6)
    returns = differences.weights / largest_weight * (differences.values - minimum) / risk
    grown = differences.counts @ np.log1p(np.outer(returns, _STAKES))
    return float(np.logaddexp.reduce(grown)) - math.log(len(_STAKES))


def anytime_p_value(differences: Differences, *, minimum: float, largest_weight: float = 1.0) -> float:
    """Return the p-value of "the mean difference is not above ``minimum``", from 0 to 1, valid at any time.

    Two-sided, so that it is below ``a`` exactly where :func:`confidence_sequence` at ``a`` lies above ``minimum``.

    >>> round(anytime_p_value(Differences.of([1.0] * 10), minimum=0.0), 3)
    0.025
    """
    wealth = log_wealth(differences, minimum=minimum, largest_weight=largest_weight)
    return min(1.0, 2.0 * math.exp(-min(wealth, 700.0)))


def confidence_sequence(differences: Differences, *, alpha: float, largest_weight: float = 1.0) -> tuple[float, float]:
    """Return an interval of the mean difference that holds at every look at once with confidence ``1 - alpha``.

    Both ends are within -1 and 1; without rows they are -1 and 1.

    >>> low, high = confidence_sequence(Differences.of([1.0] * 30 + [0.0] * 70), alpha=0.05)
    >>> round(low, 2), round(high, 2)
    (0.16, 0.46)
    """
    low = _lower_end(differences, alpha, largest_weight)
    high = -_lower_end(differences.mirrored, alpha, largest_weight)
    return low, high


def _lower_end(differences: Differences, alpha: float, largest_weight: float) -> float:
    """The largest minimum that the bets speak against, to a millionth, or -1."""
    if not differences.rows:
        return -1.0
    needed = math.log(2.0 / alpha)
    # Wealth falls as the minimum rises, and is at most 1 at the mean.
    refuted, open_ = -1.0, differences.mean
    for _ in range(_HALVINGS):
        middle = (refuted + open_) / 2
        if log_wealth(differences, minimum=middle, largest_weight=largest_weight) >= needed:
            refuted = middle
        else:
            open_ = middle
    return refuted
