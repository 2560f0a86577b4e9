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
# Above so many rows the normal approximation differs by less than the bootstrap's own noise.
_MANY_ROWS = 20_000


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
        return float((mass * self.values).sum() / mass.sum())


def bootstrap_interval(differences: Differences, *, alpha: float, seed: int) -> tuple[float, float]:
    """Return the two-sided ``1 - alpha`` interval of the mean difference.

    Percentile bootstrap over rows (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13); above
    20,000 rows the normal interval, which then is the same. Deterministic given ``seed``. It says nothing about rows
    that all differ alike; the decision is therefore :func:`sign_flip_p_value`'s, too.

    >>> low, high = bootstrap_interval(Differences.of([1.0] * 30 + [0.0] * 70), alpha=0.05, seed=0)
    >>> round(low, 1), round(high, 1)
    (0.2, 0.4)
    """
    if differences.rows > _MANY_ROWS:
        return _normal_interval(differences, alpha)
    rng = np.random.default_rng(seed)
    groups = len(differences.values)
    shares = differences.counts / differences.rows
    means = np.empty(_RESAMPLES)
    block = max(1, _BLOCK // groups)
    for start in range(0, _RESAMPLES, block):
        size = min(block, _RESAMPLES - start)
        drawn = rng.multinomial(differences.rows, shares, size=size) * differences.weights
        means[start : start + size] = (drawn @ differences.values) / drawn.sum(axis=1)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def _normal_interval(differences: Differences, alpha: float) -> tuple[float, float]:
    from scipy.stats import norm

    half = float(norm.ppf(1 - alpha / 2)) * _standard_error(differences)
    return differences.mean - half, differences.mean + half


def _standard_error(differences: Differences) -> float:
    """Of a weighted mean of independent rows (linearised ratio estimator)."""
    deviations = differences.weights * (differences.values - differences.mean)
    total = float((differences.counts * differences.weights).sum())
    return math.sqrt(float((differences.counts * deviations**2).sum())) / total


def sign_flip_p_value(differences: Differences, *, minimum: float, seed: int) -> float:
    """Return the one-sided p-value of "the mean difference is not above ``minimum``".

    Fisher's randomisation test for pairs (The Design of Experiments, 1935, section 21): under the null each row's
    difference could as well have come with the other sign. Exact up to 16 rows with a difference, by 10,000 seeded
    draws above (with the +1 correction of Phipson and Smyth, 2010, so that it is never 0), by the normal
    approximation above 20,000 rows. For 0/1 scores of equal weight it is McNemar's exact test.

    >>> sign_flip_p_value(Differences.of([1.0] * 5), minimum=0.0, seed=0)
    0.03125
    """
    values = np.repeat(differences.values - minimum, differences.counts) if differences.rows <= _MANY_ROWS else None
    if values is None:
        from scipy.stats import norm

        error = _standard_error(differences)
        if error == 0:
            return 0.0 if differences.mean > minimum else 1.0
        return float(norm.sf((differences.mean - minimum) / error))
    parts = values * np.repeat(differences.weights, differences.counts)
    parts = parts[parts != 0.0]
    if not len(parts):
        return 1.0
    observed = parts.sum()
    tolerance = 1e-9 * float(np.abs(parts).sum())
    if len(parts) <= _ENUMERATED_ROWS:
        signs = 1 - 2 * ((np.arange(2 ** len(parts))[:, None] >> np.arange(len(parts))) & 1)
        return float(np.mean(signs @ np.abs(parts) >= observed - tolerance))
    rng = np.random.default_rng(seed)
    hits = 0
    block = max(1, _BLOCK // len(parts))
    for start in range(0, _RESAMPLES, block):
        size = min(block, _RESAMPLES - start)
        signs = rng.choice(np.array([-1.0, 1.0]), size=(size, len(parts)))
        hits += int((signs @ np.abs(parts) >= observed - tolerance).sum())
    return (hits + 1) / (_RESAMPLES + 1)
