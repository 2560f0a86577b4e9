"""The verdict as it stands in ``result.json``."""

from __future__ import annotations

import math
from typing import Any

from engine.gate import BETTER, NO_WORSE, Finding, Verdict


def holdout_section(verdict: Verdict, *, improved: bool) -> dict[str, Any]:
    """Return the section ``holdout``. Without a challenger (``improved`` is False) there is nothing to test."""
    return {
        "rows": verdict.rows,
        "difference": rounded(verdict.difference),
        "interval": [rounded(edge) for edge in verdict.interval],
        "alpha": verdict.alpha,
        "p_value": rounded(verdict.p_value) if improved else None,
        "answer": verdict.answer.value if improved else "keep",
        "question": verdict.question,
        "min_improvement": verdict.findings[BETTER].minimum,
        "rows_planned": verdict.planned_rows,
        "more_rows": verdict.more_rows if improved else None,
        "judge_noise": judge_noise_section(verdict),
        "unscored": dict(zip(("seed", "best"), verdict.unscored, strict=True)),
        "no_worse": no_worse_section(verdict.findings.get(NO_WORSE), verdict.source_score) if improved else None,
    }


def judge_noise_section(verdict: Verdict) -> dict[str, Any] | None:
    """What noise the intervals allow for: ``sd`` of one row's score; ``None`` where a judge was never measured."""
    if verdict.judge_noise is None:
        return None
    widened = any(found.widened for found in verdict.findings.values())
    return {"sd": rounded(math.sqrt(verdict.judge_noise)), "widened": widened}


def no_worse_section(found: Finding | None, source_score: float | None) -> dict[str, Any] | None:
    """How the best prompt compares with the source model's recorded answers; ``None`` where it was not measured."""
    if found is None:
        return None
    return {
        "margin": -found.minimum,
        "source_score": None if source_score is None else rounded(source_score),
        "difference": rounded(found.difference),
        "interval": [rounded(edge) for edge in found.interval],
        "p_value": rounded(found.p_value),
        "shown": found.shown,
        "more_rows": found.more_rows,
    }


def rounded(value: float) -> float | None:
    """Six decimals; ``None`` where there is no number, because no row was evaluated.

    >>> rounded(0.12345678), rounded(float("nan"))
    (0.123457, None)
    """
    return None if math.isnan(value) else round(value, 6)
