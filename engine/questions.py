"""What a verdict answers, question by question: as test cases for CI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.record import SliceLine


@dataclass(frozen=True)
class Question:
    """One question of the gate: ``outcome`` is ``passed``, ``kept`` or ``need_more_data``; ``told`` says why."""

    name: str
    outcome: str
    told: str


def gate_questions(
    status: str,
    reason: str,
    *,
    rows: int,
    total: int,
    slices: Sequence[SliceLine],
    lost_variables: Sequence[str] | None = None,
) -> tuple[Question, ...]:
    """Return the questions of one verdict: coverage, variables (where known), each slice, and the difference.

    The gate names one reason. Where that is a slice, the difference itself was found good.
    """
    found = [Question("coverage", "passed" if rows else "need_more_data", f"{rows} of {total} rows scored for both")]
    if lost_variables is not None:
        told = f"lost: {', '.join(lost_variables)}" if lost_variables else "every variable is there"
        found.append(Question("variables", "kept" if lost_variables else "passed", told))
    for line in slices:
        told = f"{line.seed_score:.3f} -> {line.best_score:.3f} on {line.rows} rows"
        worse = f"on the slice {line.name}={line.value} (" in reason
        found.append(Question(f"slice {line.name}={line.value}", "kept" if worse else "passed", told))
    by_slice = any(question.outcome != "passed" for question in found if question.name.startswith("slice "))
    if status == "promoted" or by_slice:
        return (*found, Question("difference", "passed", "see the slice that failed" if by_slice else reason))
    return (*found, Question("difference", status, reason))


def record_questions(result: Mapping[str, Any], verdict: str, slices: Sequence[SliceLine]) -> tuple[Question, ...]:
    """Return the questions of a finished optimization, from its ``result.json``."""
    holdout = result["holdout"] or {"rows": 0}
    rows = int(holdout["rows"])
    return gate_questions(result["status"], verdict, rows=rows, total=rows, slices=slices)
