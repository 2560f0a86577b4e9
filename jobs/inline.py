"""What the notebooks show: on a page as HTML, elsewhere what the commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.notebook import show
from engine.report import inline
from engine.report.summary import summarize
from engine.report.words import change, money, score
from jobs.evaluate import show_comparison
from jobs.gate import show_challenge
from jobs.optimize import show_candidates, show_changes, show_diff, show_verdict
from jobs.terminal import out

if TYPE_CHECKING:
    from engine.comparison import Comparison
    from engine.config import PromptOptimizationModel
    from engine.gate_record import Challenge
    from engine.playground import Tried
    from engine.record import RunRecord


def overview(records: Sequence[RunRecord]) -> None:
    """Show one line an optimization: status, scores, interval, URI, cost."""

    def text() -> None:
        columns = ("optimization", "status", "before", "after", "difference", "interval", "prompt", "cost")
        _print(inline.as_text(columns, [_line(record.result, summarize(record)) for record in records]))

    show(inline.overview(records), text)


def _line(found: Mapping[str, Any], summary: Any) -> tuple[str, ...]:
    sides = ((found.get(side) or {}).get("holdout_score") for side in ("seed", "best"))
    interval = f"{change(summary.interval[0])} to {change(summary.interval[1])}" if summary.interval else "-"
    uri = (found.get("prompt") or {}).get("uri") or "not registered"
    drawn = (*(score(side) for side in sides), change(summary.difference), interval, uri, money(found.get("cost")))
    return (summary.name, summary.status, *drawn)


def outcome(record: RunRecord) -> None:
    """Show what a run came to, and the interval that it rests on."""
    show(inline.sections(record, "top"), lambda: show_verdict(record))


def changes(record: RunRecord) -> None:
    """Show what a run changed in the prompts, and why to believe it."""
    show(inline.sections(record, "prompt", "verdict"), lambda: show_changes(record))


def search(record: RunRecord) -> None:
    """Show how a run's search went: scores by step, the tree of candidates."""
    show(inline.sections(record, "search"), lambda: show_candidates(record))


def compared(found: Comparison) -> None:
    """Show the prompts of an evaluation with their scores."""
    show(inline.compared(found), lambda: show_comparison(found))


def challenged(found: Challenge, settings: PromptOptimizationModel) -> None:
    """Show each new prompt's verdict against the current one."""
    needed = settings.gate.min_improvement
    show(inline.challenged(found, needed=needed), lambda: show_challenge(found))


def changed(before: str, after: str) -> None:
    """Show what differs between two prompts."""
    show(inline.changed(before, after), lambda: show_diff(before, after))


def tried(found: Tried) -> None:
    """Show the answers of the prompts that were tried."""

    def text() -> None:
        for row in found.rows:
            _print(f"{row.inputs}  expected: {row.expectations}")
            for prompt, answer in zip(found.prompts, row.answers, strict=True):
                _print(f"  {prompt.name}: {score(answer.score)}  {answer.output or answer.error}")

    show(inline.tried(found), text)


def facts(title: str, found: Mapping[str, Any]) -> None:
    """Show names with their values."""

    def text() -> None:
        _print(title)
        _print(inline.as_text(("", ""), [(name, str(value)) for name, value in found.items()]))

    show(inline.facts(title, found), text)


def _print(text: str) -> None:
    out().print(text, markup=False)
