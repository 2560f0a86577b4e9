"""Claims: what a challenger must show, and how sure a look at the rows makes of it.

A race looks at its rows several times, and may stop at any look; its error is shared out among two ways to be sure:

- at every look, the last one too, :mod:`engine.verdict.betting` with a fifth of ``alpha``, valid at any time;
- at the last look the tests for a fixed number of rows (:mod:`engine.statistics`) with the other four fifths, which see
  gains that are too small to be seen early.

By the union bound the two together err no more often than ``alpha``. A race of one look spends all of it on the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.statistics import Differences, bootstrap_interval, bootstrap_p_value, sign_flip_p_value, skewed_p_value
from engine.verdict.betting import anytime_p_value, confidence_sequence

# The share of alpha that pays for stopping early. Simulated for a difference of 5 points: with a tenth 16 % of 10,000
# rows are asked, with a fifth 14 %, with a half 12 %; of a power of 71 % over 1,000 rows it costs 1, 2 and 10 points.
EARLY_SHARE = 0.2
# A race is called off when even a hopeful view gives its last look no more chance than this.
_HOPELESS = 0.05
# The upper 99.5 % bound of the normal distribution: with the 95 % one, 18 looks at 100,000 rows called off one race of
# eight that a gain of one point would have won.
_HOPE = 2.576


@dataclass(frozen=True)
class Claim:
    """The mean of ``differences`` is above ``minimum``. An excess of less than ``worthwhile`` is not worth calls."""

    differences: Differences
    minimum: float
    worthwhile: float = 0.0

    @property
    def excess(self) -> float:
        """By how much the mean is above the minimum; NaN without rows."""
        return self.differences.mean - self.minimum


@dataclass(frozen=True)
class Level:
    """How a claim is tested: with error ``alpha`` over all ``looks``, whose rows weigh at most ``largest_weight``.

    ``seed`` is of the resampling.
    """

    alpha: float
    looks: int = 1
    largest_weight: float = 1.0
    seed: int = 0

    @property
    def early_share(self) -> float:
        """The share of alpha that is spent on stopping early."""
        return EARLY_SHARE if self.looks > 1 else 0.0

    def p_value(self, claim: Claim, *, last: bool) -> float:
        """Return the claim's p-value at this look: at most ``alpha`` where it is shown. Valid over all looks.

        >>> Level(0.05).p_value(Claim(Differences.of([1.0] * 12 + [0.0] * 28), 0.0), last=True) == 0.5**12
        True
        """
        early = 1.0
        if self.early_share:
            early = anytime_p_value(claim.differences, minimum=claim.minimum, largest_weight=self.largest_weight)
            early = min(1.0, early / self.early_share)
        if not last or early <= self.alpha:
            return early
        return min(1.0, early, self._fixed_p_value(claim) / (1 - self.early_share))

    def _fixed_p_value(self, claim: Claim) -> float:
        if not claim.excess > 0:
            return 1.0
        found = sign_flip_p_value(claim.differences.guarded(claim.minimum), minimum=claim.minimum, seed=self.seed)
        if not claim.differences.balances(claim.minimum):
            found = max(found, skewed_p_value(claim.differences, minimum=claim.minimum))
        if found > self.alpha:
            return found  # not shown, whatever the bootstrap says
        return max(found, bootstrap_p_value(claim.differences, minimum=claim.minimum, seed=self.seed))

    def interval(self, claim: Claim, *, last: bool, among: int = 1) -> tuple[float, float]:
        """Return the interval that belongs to the p-value: each of ``among`` such intervals holds at once."""
        alpha = self.alpha / among
        if not self.early_share:
            return bootstrap_interval(claim.differences, alpha=alpha, seed=self.seed)
        low, high = confidence_sequence(
            claim.differences, alpha=alpha * self.early_share, largest_weight=self.largest_weight
        )
        if last and claim.differences.rows:
            fixed = bootstrap_interval(claim.differences, alpha=alpha * (1 - self.early_share), seed=self.seed)
            # Both hold, so their common part does; they have one, because both hold the mean.
            return max(low, fixed[0]), min(high, fixed[1])
        return low, high

    def refuted(self, claim: Claim, *, among: int = 1) -> bool:
        """Tell whether an early look is sure that the mean is less than ``worthwhile`` above the minimum."""
        bar = claim.minimum + claim.worthwhile
        if not self.early_share or bar >= 1.0:
            return False
        against = anytime_p_value(claim.differences.mirrored, minimum=-bar, largest_weight=self.largest_weight)
        return against / self.early_share <= self.alpha / among

    def hopeless(self, claim: Claim, *, planned_rows: int, among: int = 1) -> bool:
        """Tell whether the last look, at ``planned_rows``, will hardly show the claim.

        Conditional power (Lan, Simon and Halperin, Stochastically curtailed tests, 1982) under a hopeful view: the rest
        of the rows gain what the upper 99.5 % bound of those seen allows. Stopping for it makes no false promotion.
        """
        from scipy.stats import norm

        seen = claim.differences.rows
        left = planned_rows - seen
        if not seen or left <= 0:
            return False
        # As if one row more had been seen, which gained all: rows that don't differ at all show no spread.
        spread = math.sqrt((seen * seen * claim.differences.standard_error**2 + 1) / (seen + 1))
        hoped = (seen * claim.excess + 1) / (seen + 1) + _HOPE * spread / math.sqrt(seen + 1)
        needed = float(norm.ppf(1 - self.alpha * (1 - self.early_share) / among / 2)) * spread * math.sqrt(planned_rows)
        surplus = seen * claim.excess + left * hoped - needed
        return float(norm.cdf(surplus / (spread * math.sqrt(left)))) < _HOPELESS

    def rows_to_show(self, claim: Claim, *, among: int = 1, power: float = 0.8) -> int | None:
        """Return of how many rows a last look shows the claim with this power, if the mean stays as it is.

        Normal sample size for one mean (statsmodels). ``None`` where the mean is not above the minimum, or nothing is
        known of its spread.

        >>> Level(0.05).rows_to_show(Claim(Differences.of([1.0, -1.0, 0.0, 0.0, 1.0]), 0.0))
        110
        """
        from statsmodels.stats.power import normal_sample_size_one_tail

        seen = claim.differences.rows
        if not seen or not claim.excess > 0:
            return None
        spread = claim.differences.standard_error * math.sqrt(seen)
        if not spread:
            return seen + 1
        alpha = self.alpha * (1 - self.early_share) / among / 2
        rows: int = math.ceil(normal_sample_size_one_tail(claim.excess, power, alpha, std_null=spread))
        return rows
