"""Paired statistics: the difference of two prompts over rows that were scored for both, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Resamples of the bootstrap and draws of the sign-flip test: their error is then about 0.002 at a p-value of 0.05.
_RESAMPLES = 10_000
# Up to so many rows all sign flips are enumerated, and the test is exact.
_ENUMERATED_ROWS = 16
# Resampled groups are worked off in blocks of about so many numbers, to bound memory.
_BLOCK = 4_000_000
# Above so many groups of differences resampling takes too long (10,000 times 5,000 draws: about 5 s), and the normal
# approximation is good: so many different values are at least as many rows that differ. It is groups that count, not
# rows: of a million rows only ten may differ, and ten are never normal.
_MANY_GROUPS = 5_000


@dataclass(frozen=True)
class Differences:
    """Paired differences (new minus current), grouped: ``counts[i]`` rows of weight ``weights[i]`` differ by
    ``values[i]``. Grouped, because over millions of rows only the groups leave Spark.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: Sequence[float], weights: Sequence[float] | None = None) -> Differences:
        """Make ungrouped differences, one row each."""
        return cls(
            np.asarray(values, dtype=np.float64),
            np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64),
            np.ones(len(values), dtype=np.int64),
        )

    @property
    def rows(self) -> int:
        """How many rows."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean difference, by weight.

        >>> Differences.of([1.0, 0.0]).mean
        0.5
        """
        mass = self.counts * self.weights
        return float((mass * self.values).sum() / mass.sum()) if len(mass) else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean: a weighted mean of independent rows (linearised ratio estimator); NaN without rows."""
        total = float((self.counts * self.weights).sum())
        if not total:
            return math.nan
        deviations = self.weights * (self.values - self.mean)
        return math.sqrt(float((self.counts * deviations**2).sum())) / total

    @property
    def mirrored(self) -> Differences:
        """The same rows seen from the other side: current minus new.

        >>> Differences.of([1.0, 1.0]).mirrored.mean
        -1.0
        """
        return Differences(-self.values, self.weights, self.counts)

    def joined(self, other: Differences) -> Differences:
        """Return the differences of two sets of rows that share none, grouped.

        >>> Differences.of([1.0]).joined(Differences.of([1.0, 0.0])).rows
        3
        """
        return Differences(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.counts, other.counts]),
        ).grouped()

    def guarded(self, minimum: float) -> Differences:
        """Return the differences with one row more of mean weight that lost all there is to lose; two unless
        ``minimum`` is 0.

        Few rows may hold no loss by chance alone, though losses are what balances the gains: without the added row a
        test of rows that mostly gain a little and seldom lose much promotes too often, and one against a minimum other
        than 0 sees nothing but such rows (simulated in ``tests/engine/verdict/test_race.py``). Rows of equal weight
        that gain or lose everything against a minimum of 0 have no such shape: they stay as they are, and McNemar's
        test of them stays exact.

        >>> Differences.of([0.5, 0.5]).guarded(0.0).rows, Differences.of([1.0, -1.0, 0.0]).guarded(0.0).rows
        (3, 3)
        """
        moved = self.values[self.values != 0.0]
        if not self.rows or (
            minimum == 0.0 and bool(np.all(np.abs(moved) == 1.0)) and float(np.ptp(self.weights)) == 0.0
        ):
            return self
        weight = float((self.counts * self.weights).sum()) / self.rows
        worst = 1 if minimum == 0.0 else 2
        return self.joined(Differences.of([-1.0] * worst, [weight] * worst))

    def grouped(self) -> Differences:
        """Return the same differences with equal ones together, in order: what is drawn depends on nothing else."""
        if not len(self.values):
            return self
        pairs, place = np.unique(np.stack([self.values, self.weights], axis=1), axis=0, return_inverse=True)
        counts = np.bincount(place.reshape(-1), weights=self.counts, minlength=len(pairs)).astype(np.int64)
        return Differences(pairs[:, 0], pairs[:, 1], counts)


def bootstrap_interval(differences: Differences, *, alpha: float, seed: int) -> tuple[float, float]:
    """Return the two-sided ``1 - alpha`` interval of the mean difference.

    Percentile bootstrap over rows (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13); above
    5,000 different differences the normal interval, which then is the same. Deterministic given ``seed``. It says
    nothing about rows that all differ alike; the decision is therefore :func:`sign_flip_p_value`'s, too. Without rows
    both ends are NaN.

    >>> low, high = bootstrap_interval(Differences.of([1.0] * 30 + [0.0] * 70), alpha=0.05, seed=0)
    >>> round(low, 1), round(high, 1)
    (0.2, 0.4)
    """
    if not differences.rows:
        return math.nan, math.nan
    differences = differences.grouped()
    if len(differences.values) > _MANY_GROUPS:
        from scipy.stats import norm

        half = float(norm.ppf(1 - alpha / 2)) * differences.standard_error
        return differences.mean - half, differences.mean + half
    low, high = np.quantile(_resampled_means(differences, seed), [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def bootstrap_p_value(differences: Differences, *, minimum: float, seed: int) -> float:
    """Return the two-sided p-value of "the mean difference is not above ``minimum``", from the same resamples.

    It is below ``alpha`` where :func:`bootstrap_interval` at ``alpha`` lies above ``minimum``; never below what the
    resamples can resolve, and 1 without rows.

    >>> bootstrap_p_value(Differences.of([1.0] * 30 + [0.0] * 70), minimum=0.2, seed=0) < 0.05
    True
    """
    if not differences.rows:
        return 1.0
    differences = differences.grouped()
    if len(differences.values) > _MANY_GROUPS:
        return min(1.0, 2 * _normal_tail((differences.mean - minimum) / differences.standard_error))
    below = int((_resampled_means(differences, seed) <= minimum + 1e-12).sum())
    return min(1.0, 2 * (below + 1) / (_RESAMPLES + 1))


def _resampled_means(differences: Differences, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    groups = len(differences.values)
    shares = differences.counts / differences.rows
    means = np.empty(_RESAMPLES)
    block = max(1, _BLOCK // groups)
    for start in range(0, _RESAMPLES, block):
        size = min(block, _RESAMPLES - start)
        drawn = rng.multinomial(differences.rows, shares, size=size) * differences.weights
        means[start : start + size] = (drawn @ differences.values) / drawn.sum(axis=1)
    return means


def sign_flip_p_value(differences: Differences, *, minimum: float, seed: int) -> float:
    """Return the one-sided p-value of "the mean difference is not above ``minimum``".

    Fisher's randomisation test for pairs (The Design of Experiments, 1935, section 21): under the null each row's
    difference could as well have come with the other sign. Exact for 0/1 scores of equal weight, where it is McNemar's
    exact test, and up to 16 rows with a difference; else by 10,000 seeded draws (with the +1 correction of Phipson and
    Smyth, 2010, so that it is never 0), and by the normal approximation above 5,000 different differences and below
    what the draws can resolve. It is 1
    without rows that differ from ``minimum``.

    >>> sign_flip_p_value(Differences.of([1.0] * 5), minimum=0.0, seed=0)
    0.03125
    """
    parts = differences.values - minimum
    # Weighted, and only where there is a difference: a flipped zero stays zero.
    moved = Differences(parts * differences.weights, np.ones(len(parts)), differences.counts).grouped()
    values, counts = moved.values[moved.values != 0.0], moved.counts[moved.values != 0.0]
    if not counts.sum():
        return 1.0
    sizes = np.abs(values)
    observed = float((values * counts).sum())
    tolerance = 1e-9 * float((sizes * counts).sum())
    if np.ptp(sizes) <= 1e-9 * sizes.max():
        from scipy.stats import binom

        return float(binom.sf(counts[values > 0].sum() - 1, counts.sum(), 0.5))
    if counts.sum() <= _ENUMERATED_ROWS:
        each = np.repeat(sizes, counts)
        signs = 1 - 2 * ((np.arange(2 ** len(each))[:, None] >> np.arange(len(each))) & 1)
        return float(np.mean(signs @ each >= observed - tolerance))
    # Under the null the mean is known: the spread is taken around zero, not around what was observed.
    spread = math.sqrt(float((counts * sizes**2).sum()))
    if len(values) > _MANY_GROUPS:
        return _normal_tail(observed / spread)
    rng = np.random.default_rng(seed)
    hits = 0
    block = max(1, _BLOCK // len(values))
    for start in range(0, _RESAMPLES, block):
        size = min(block, _RESAMPLES - start)
        # Of a group's rows, so many come with a plus; a million rows are drawn at the price of one.
        pluses = rng.binomial(counts, 0.5, size=(size, len(values)))
        hits += int(((2 * pluses - counts) @ sizes >= observed - tolerance).sum())
    if hits:
        return (hits + 1) / (_RESAMPLES + 1)
    # Below what so many draws can resolve: the normal tail of the very same statistic, so that a correction for many
    # slices does not make every one of them uncertain.
    return min(1 / (_RESAMPLES + 1), _normal_tail(observed / spread))


def _normal_tail(z: float) -> float:
    from scipy.stats import norm

    return float(norm.sf(z))
