"""Paired statistics: the difference of two prompts over rows that were scored for both, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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

    ``noise`` is the variance that judges' noise alone gives to the weighted sum of the differences: the rows hold it
    already, but few of them may show less by chance.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    counts: NDArray[np.int64]
    noise: float = 0.0

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
        """Of the mean, never less than judges' noise alone gives; NaN without rows."""
        return math.hypot(self._spread_error, self.lacking_noise)

    @property
    def lacking_noise(self) -> float:
        """The standard deviation that judges' noise gives the mean beyond what the spread over rows shows of it.

        >>> alike = Differences(np.array([0.5]), np.ones(1), np.array([4]), noise=0.16)
        >>> alike.lacking_noise, Differences.of([1.0, -1.0, 0.5, 0.5]).lacking_noise
        (0.1, 0.0)
        """
        total = float((self.counts * self.weights).sum())
        return math.sqrt(max(0.0, self.noise / total**2 - self._spread_error**2)) if total else 0.0

    @property
    def _spread_error(self) -> float:
        """Of a weighted mean of independent rows (linearised ratio estimator)."""
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
        return replace(self, values=-self.values)

    def joined(self, other: Differences) -> Differences:
        """Return the differences of two sets of rows that share none, grouped.

        >>> Differences.of([1.0]).joined(Differences.of([1.0, 0.0])).rows
        3
        """
        return Differences(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.counts, other.counts]),
            self.noise + other.noise,
        ).grouped()

    def balances(self, minimum: float) -> bool:
        """Tell whether each row gains or loses as much as any other, against a ``minimum`` of 0, or does not differ.

        >>> Differences.of([1.0, -1.0, 0.0]).balances(0.0), Differences.of([1.0, -1.0], [1.0, 2.0]).balances(0.0)
        (True, False)
        """
        moved = self.values[self.values != 0.0]
        return minimum == 0.0 and bool(np.all(np.abs(moved) == 1.0)) and len(np.unique(self.weights)) <= 1

    def guarded(self, minimum: float) -> Differences:
        """Return the differences with one row more that lost all there is to lose; two unless ``minimum`` is 0.

        Few rows may hold no loss by chance alone, though losses are what balances the gains: without the added row a
        test of rows that mostly gain a little and seldom lose much promotes too often, and one against a minimum other
        than 0 sees nothing but such rows (simulated in ``tests/engine/verdict/test_race.py``). Rows that balance stay
        as they are, and McNemar's test of them stays exact.

        The added row has the mean weight, and more as the gains lie in lighter rows than traffic does: the heavy rows
        that did not gain may be those that lose. Against a minimum other than 0, where rows that tie count as gains,
        one has the mean weight and one that of a random trace's row.

        >>> Differences.of([0.5, 0.5]).guarded(0.0).rows, Differences.of([1.0, -1.0, 0.0]).guarded(0.0).rows
        (3, 3)
        >>> Differences.of([1.0, 0.0], [1.0, 3.0]).guarded(0.0).weights.tolist()  # -1, 0 and 1
        [3.0, 3.0, 1.0]
        """
        if not self.rows or self.balances(minimum):
            return self
        mean = float((self.counts * self.weights).sum()) / self.rows
        of_a_trace = _weight_of_a_trace(self.counts, self.weights)
        if minimum == 0.0:
            gained = np.where(self.values > 0.0, self.counts, 0)
            heavier = of_a_trace / _weight_of_a_trace(gained, self.weights) if gained.any() else 1.0
            added = [min(mean * max(1.0, heavier), float(self.weights.max()))]
        else:
            added = [mean, of_a_trace]
        return self.joined(Differences.of([-1.0] * len(added), added))

    def grouped(self) -> Differences:
        """Return the same differences with equal ones together, in order: what is drawn depends on nothing else."""
        if not len(self.values):
            return self
        pairs, place = np.unique(np.stack([self.values, self.weights], axis=1), axis=0, return_inverse=True)
        counts = np.bincount(place.reshape(-1), weights=self.counts, minlength=len(pairs)).astype(np.int64)
        return Differences(pairs[:, 0], pairs[:, 1], counts, self.noise)


def _weight_of_a_trace(counts: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """The mean weight of the row that a random trace falls on, which is larger than the mean over rows."""
    return float((counts * weights**2).sum() / (counts * weights).sum())


def bootstrap_interval(differences: Differences, *, alpha: float, seed: int) -> tuple[float, float]:
    """Return the two-sided ``1 - alpha`` interval of the mean difference.

    Percentile bootstrap over rows (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13); above
    5,000 different differences the normal interval, which then is the same. What the rows' spread lacks of the judges'
    noise is added to each resampled mean. Deterministic given ``seed``. Noise aside it says nothing about rows that all
    differ alike; the decision is therefore :func:`sign_flip_p_value`'s, too. Without rows both ends are NaN.

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
    if lacking := differences.lacking_noise:
        means = np.clip(means + rng.normal(0.0, lacking, _RESAMPLES), -1.0, 1.0)
    return means


def sign_flip_p_value(differences: Differences, *, minimum: float, seed: int) -> float:
    """Return the one-sided p-value of "the mean difference is not above ``minimum``".

    Fisher's randomisation test for pairs (The Design of Experiments, 1935, section 21): under the null each row's
    difference could as well have come with the other sign. Exact for 0/1 scores of equal weight, where it is McNemar's
    exact test, and up to 16 rows with a difference; else by 10,000 seeded draws (with the +1 correction of Phipson and
    Smyth, 2010, so that it is never 0), and by the normal approximation above 5,000 different differences and below
    what the draws can resolve. It is 1 without rows that differ from ``minimum``. Judges' noise needs no floor here:
    the null keeps each difference's size, and noise is as likely to come with either sign.

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


def skewed_p_value(differences: Differences, *, minimum: float) -> float:
    """Return the one-sided p-value of "the mean difference is not above ``minimum``", by a t statistic without skew.

    Where few heavy or large losses balance many light or small gains, a sample with few of them has a large mean *and*
    a small spread. Hall's cubic transformation (On the removal of skewness by transformation, JRSS B 54(1), 1992) takes
    that out by the rows' own skewness. It knows no exactness over few rows, as the sign flips do: ask both. Rows that
    all differ alike give 0 or 1.

    >>> found = Differences(np.array([0.1, -1.0]), np.ones(2), np.array([98, 2]))
    >>> round(skewed_p_value(found, minimum=0.0), 2)
    0.09
    """
    from scipy.stats import norm

    if not differences.rows:
        return 1.0
    counts, parts = differences.counts, differences.weights * (differences.values - minimum)
    rows = differences.rows
    mean = float((counts * parts).sum()) / rows
    spread = math.sqrt(float((counts * (parts - mean) ** 2).sum()) / rows)
    if spread <= 1e-9 * float(np.abs(parts).max()):
        return float(mean <= 0.0)
    skew = float((counts * (parts - mean) ** 3).sum()) / rows / spread**3 / math.sqrt(rows)
    t = math.sqrt(rows) * mean / spread
    return float(norm.sf(t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6))


def _normal_tail(z: float) -> float:
    from scipy.stats import norm

    return float(norm.sf(z))
