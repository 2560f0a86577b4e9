"""How a search ended, said honestly: what was found, or what it would have taken to tell."""

from __future__ import annotations

import enum
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.search.adapter import CHECKED_ROWS, PROBE_ROWS
from engine.search.history import Candidate, History
from engine.settings import SearchSettings

# The gain that a search without a find should at least have been able to tell: one answer in twenty.
TOLD_DIFFERENCE = 0.05
TOLD_POWER = 0.8


class End(enum.StrEnum):
    """What became of a search."""

    IMPROVED = "improved"
    NOT_IMPROVED = "no improvement found"
    TOO_SMALL = "budget too small to tell"
    PERFECT = "seed perfect"


@dataclass(frozen=True)
class WouldTell:
    """What tells a gain of ``difference`` from none with probability ``power``, by a one-sided test at ``alpha``.

    ``rows`` of val, each with both prompts; ``metric_calls`` for a search that is as long as was asked for and runs
    one candidate on so many rows.
    """

    difference: float
    power: float
    alpha: float
    rows: int
    metric_calls: int


@dataclass(frozen=True)
class Ending:
    """The end of a search; ``would_tell`` stands with those that found nothing."""

    end: End
    sentence: str
    would_tell: WouldTell | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as it stands in ``result.json``."""
        return {
            "ended": str(self.end),
            "ended_because": self.sentence,
            "would_tell": asdict(self.would_tell) if self.would_tell else None,
        }


def judge_end(history: History, settings: SearchSettings, *, alpha: float, steps: int, spent: str) -> Ending:
    """Say how the search ended.

    ``steps``: how many were begun; ``spent``: what the budget did not cover, empty where it was enough.
    """
    seed, best = history.seed, history.leader
    if best is not seed:
        rows = history.differences(best, seed).rows
        gain = history.differences(best, seed).mean
        return Ending(End.IMPROVED, f"{best.label} is {gain:+.3f} better than the seed on {rows} val rows")
    if is_perfect(history, seed):
        return Ending(End.PERFECT, f"the seed is right on all {len(seed.val)} val rows: val has nothing to gain")
    needed = would_tell(history, settings, alpha=alpha)
    raced = sum(1 for c in history.candidates if c.val and c is not seed)
    proposed = sum(1 for c in history.candidates if c.status in {"accepted", "rejected"})
    did = (
        f"{proposed} proposals were tried in {steps} of {settings.max_steps} steps, {raced} of them on val, and none "
        "was ahead of the seed"
    )
    telling = (
        f"a gain of {needed.difference:.0%} shows with {needed.power:.0%} probability on {needed.rows:,} val rows, "
        f"which takes about {needed.metric_calls:,} metric calls of search"
    )
    if spent:
        return Ending(End.TOO_SMALL, f"{did}; the budget ended the search: {spent}. For comparison: {telling}", needed)
    if len(history.val) < needed.rows:
        shown = _told_by(history, alpha=alpha)
        telling += f"; val has {len(history.val):,} rows, enough for a gain of {shown:.0%} or more"
    return Ending(End.NOT_IMPROVED, f"{did}; {telling}", needed)


def is_perfect(history: History, candidate: Candidate) -> bool:
    """Say whether every val row that was run is fully right."""
    score = history.val_score(candidate)
    return score is not None and score >= 1.0 - 1e-12


def would_tell(history: History, settings: SearchSettings, *, alpha: float) -> WouldTell:
    """Return what would tell a gain of :data:`TOLD_DIFFERENCE`, by the differences that were seen.

    The normal approximation of the one-sample test on paired differences (Cohen, Statistical Power Analysis for the
    Behavioral Sciences, 1988, chapter 2), their spread pooled over the candidates that val was run for; before any
    was, that of two independent prompts as good as the seed.
    """
    spread = _spread(history)
    rows = max(1, math.ceil((_quantiles(alpha) * spread / TOLD_DIFFERENCE) ** 2))
    parents = min(settings.num_parents, settings.num_candidates) * settings.minibatch_size
    minibatches = settings.max_steps * (parents + settings.num_candidates * (PROBE_ROWS + CHECKED_ROWS))
    return WouldTell(TOLD_DIFFERENCE, TOLD_POWER, alpha, rows, minibatches + 2 * rows)


def _told_by(history: History, *, alpha: float) -> float:
    """The gain that all of val can tell."""
    return min(1.0, _quantiles(alpha) * _spread(history) / math.sqrt(max(1, len(history.val))))


def _quantiles(alpha: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(1.0 - alpha) + norm.ppf(TOLD_POWER))


def _spread(history: History) -> float:
    """Standard deviation of a row's difference to the seed, with the pseudo-rows of :func:`chance_ahead`."""
    seen = [history.differences(c, history.seed) for c in history.candidates if c is not history.seed and c.val]
    values = np.concatenate([d.values for d in seen]) if seen else np.empty(0)
    if len(values):
        return math.sqrt((float(values @ values) + 1.0) / (len(values) + 2.0))
    scores = np.array([r.score for r in history.seed.val.values() if r.score is not None])
    mean = (scores.sum() + 1.0) / (len(scores) + 2.0)
    return math.sqrt(2.0 * mean * (1.0 - mean))
