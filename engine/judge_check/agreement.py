"""How far verdicts can be trusted: agreement of a judge with itself, with the other order of texts, and with labels.

Verdicts are scores from 0 to 1; two agree when they are the same score. Every array has one place an answer, and NaN
where there was no verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Scores = NDArray[np.float64]
# Scores that differ by less are one verdict: a share of three guidelines is no exact number.
_DECIMALS = 6
# Resamples of kappa's interval: its ends are then good to about 0.01.
_RESAMPLES = 2_000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Proportion:
    """A share of ``of`` answers, with its 95 % interval (Wilson, 1927)."""

    value: float
    low: float
    high: float
    of: int

    @classmethod
    def counted(cls, hits: int, of: int) -> Proportion:
        """Return ``hits`` of ``of``, which is above 0.

        >>> found = Proportion.counted(90, 100)
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (0.9, 0.83, 0.94)
        """
        interval = binomtest(hits, of).proportion_ci(confidence_level=_CONFIDENCE, method="wilson")
        return cls(hits / of, float(interval.low), float(interval.high), of)


@dataclass(frozen=True)
class Repeatability:
    """A judge asked twice the same: how often it agrees with itself, and the variance of one verdict round its mean.

    ``noise_variance`` is the within-answer variance of repeated measurements, half the mean square of the differences
    (Bland and Altman, "Measurement error", BMJ 1996); ``noise_sd`` is its root.
    """

    agreement: Proportion
    noise_variance: float
    noise_sd: float


@dataclass(frozen=True)
class OrderEffect:
    """A judge shown the same two texts in the other order.

    ``shift`` is how much higher its usual order scores, on average, and ``shift_p_value`` the exact two-sided sign
    test of no shift. ``changed`` is how much more often another order changes the verdict than asking again does, and
    ``changed_p_value`` McNemar's exact one-sided test of "no more often".
    """

    agreement: Proportion
    shift: float
    shift_p_value: float
    changed: float
    changed_p_value: float


@dataclass(frozen=True)
class LabelAgreement:
    """A judge against labels. ``kappa`` is Cohen's, ``None`` where labels and verdicts are all one class.

    ``shift`` is how much higher than the labels the judge scores, on average; ``confusion`` counts (label, verdict).
    """

    agreement: Proportion
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    shift: float
    confusion: dict[tuple[float, float], int]


def repeatability(first: Scores, again: Scores) -> Repeatability | None:
    """Compare two rounds of the same questions; ``None`` where no answer has a verdict in both.

    >>> found = repeatability(np.array([1.0, 1.0, 0.0, 0.5]), np.array([1.0, 0.0, 0.0, np.nan]))
    >>> found.agreement.of, round(found.noise_variance, 3)
    (3, 0.167)
    """
    both = _both(first, again)
    if not both.any():
        return None
    differences = first[both] - again[both]
    variance = float(np.mean(differences**2) / 2)
    return Repeatability(_agreement(differences), variance, math.sqrt(variance))


def order_effect(first: Scores, again: Scores, swapped: Scores) -> OrderEffect | None:
    """Compare the usual order with the other one; ``again`` says how much of a change is but the judge's own noise."""
    both = _both(first, swapped)
    if not both.any():
        return None
    differences = first[both] - swapped[both]
    moved = differences[~_same(differences)]
    three = both & _both(first, again)
    by_order = ~_same(first[three] - swapped[three])
    by_noise = ~_same(first[three] - again[three])
    return OrderEffect(
        agreement=_agreement(differences),
        shift=float(differences.mean()),
        shift_p_value=_binomial(int((moved > 0).sum()), len(moved), "two-sided"),
        changed=float(by_order.mean() - by_noise.mean()) if three.any() else 0.0,
        changed_p_value=_binomial(int((by_order & ~by_noise).sum()), int((by_order ^ by_noise).sum()), "greater"),
    )


def label_agreement(verdicts: Scores, labels: Scores, *, seed: int) -> LabelAgreement | None:
    """Compare verdicts with labels; ``None`` where no answer has both. Deterministic given ``seed``."""
    both = _both(verdicts, labels)
    if not both.any():
        return None
    given, said = np.round(labels[both], _DECIMALS), np.round(verdicts[both], _DECIMALS)
    classes = np.unique(np.concatenate([given, said]))
    table = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(table, (np.searchsorted(classes, given), np.searchsorted(classes, said)), 1)
    kappa = float(cohens_kappa(table[None])[0])
    counted = Counter(zip(given.tolist(), said.tolist(), strict=True))
    return LabelAgreement(
        agreement=Proportion.counted(int(np.trace(table)), int(table.sum())),
        kappa=None if math.isnan(kappa) else kappa,
        kappa_interval=None if math.isnan(kappa) else _kappa_interval(table, seed),
        shift=float((said - given).mean()),
        confusion=dict(sorted(counted.items(), reverse=True)),
    )


def cohens_kappa(tables: NDArray[np.int64]) -> Scores:
    """Return Cohen's kappa of each square confusion table in ``tables`` (any number, classes, classes).

    Cohen, "A coefficient of agreement for nominal scales", 1960: agreement beyond what the two marginals give by
    chance. NaN where chance alone would agree on all.

    >>> cohens_kappa(np.array([[[20, 5], [10, 15]]])).round(3).tolist()
    [0.4]
    """
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    by_chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    kappas = np.full(len(tables), np.nan)
    np.divide(observed - by_chance, 1 - by_chance, out=kappas, where=by_chance < 1 - 1e-12)
    return kappas


def _kappa_interval(table: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Percentile bootstrap over answers; resamples of one class have no kappa and are left out."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(table.sum(), table.ravel() / table.sum(), size=_RESAMPLES).reshape(-1, *table.shape)
    low, high = np.nanquantile(cohens_kappa(drawn), [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def _both(left: Scores, right: Scores) -> NDArray[np.bool_]:
    return ~(np.isnan(left) | np.isnan(right))


def _same(differences: Scores) -> NDArray[np.bool_]:
    return np.abs(differences) < 10.0**-_DECIMALS


def _agreement(differences: Scores) -> Proportion:
    return Proportion.counted(int(_same(differences).sum()), len(differences))


def _binomial(hits: int, of: int, alternative: str) -> float:
    return float(binomtest(hits, of, 0.5, alternative=alternative).pvalue) if of else 1.0
