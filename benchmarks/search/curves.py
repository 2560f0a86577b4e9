"""Searches as curves: quality against calls and time, how soon a share of the gain was reached, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.search.world import FAMILIES, World


@dataclass(frozen=True)
class Curve:
    """One search as steps: from ``calls[i]`` calls and ``seconds[i]`` on it would have returned ``share[i]``.

    ``share`` is the share of the possible gain: 0 is the seed's true quality, 1 that of the best prompt there is. On
    real tasks, whose best prompt nobody knows, it is the holdout score itself.
    ``whole_s`` is how long the whole search took.
    """

    number: int
    calls: tuple[int, ...]
    seconds: tuple[float, ...]
    share: tuple[float, ...]
    whole_s: float

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Curve:
        """Make a curve of a search's line."""
        nothing, best = 0.0, 1.0
        if line["family"] in FAMILIES:
            nothing, best = line["first"], World(FAMILIES[line["family"]], line["number"]).best_quality
        events = [(0, 0.0, line["first"]), *((calls, at_s, quality) for calls, at_s, quality, _ in line["events"])]
        return cls(
            line["number"],
            tuple(calls for calls, _, _ in events),
            tuple(at_s for _, at_s, _ in events),
            tuple((quality - nothing) / (best - nothing) for _, _, quality in events),
            line["seconds"],
        )

    def at_calls(self, calls: float) -> float:
        """Return the share of the gain after so many calls."""
        return self.share[int(np.searchsorted(self.calls, calls, side="right")) - 1]

    def at_seconds(self, seconds: float) -> float:
        """Return the share of the gain after so many seconds."""
        return self.share[int(np.searchsorted(self.seconds, seconds, side="right")) - 1]


def mean_at(curves: Sequence[Curve], calls: float) -> float:
    """Return the mean share of the gain after so many calls."""
    return float(np.mean([curve.at_calls(calls) for curve in curves]))


def first_reaching(curves: Sequence[Curve], share: float, most: int) -> int | None:
    """Return after how many calls the mean over the searches first reaches a share of the gain, to keep it.

    None where it does not within ``most`` calls.
    """
    reached: int | None = None
    for calls in sorted({calls for curve in curves for calls in curve.calls if calls <= most}):
        if mean_at(curves, calls) < share:
            reached = None
        elif reached is None:
            reached = calls
    return reached


def paired(values: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the mean difference of pairs, first less second, and its 95 % interval (BCa bootstrap over the pairs)."""
    differences = np.array([one - other for one, other in values])
    mean = float(differences.mean())
    if len(differences) < 3 or np.ptp(differences) == 0:
        return mean, mean, mean
    found = stats.bootstrap((differences,), np.mean, rng=np.random.default_rng(0), n_resamples=4000)
    return mean, float(found.confidence_interval.low), float(found.confidence_interval.high)
