"""Several optimizations of one command: run or foreseen as a batch, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from jobs.batch_progress import shown_batch
from jobs.estimates import estimate_json
from jobs.options import required_status
from jobs.results import json_text, show_doubts
from jobs.terminal import out

if TYPE_CHECKING:
    from engine.batch import BatchLine, BatchResult, BatchSummary, Foreseen
    from engine.config import AppConfig, PromptOptimizationModel
    from engine.junit import Suite
    from engine.ledger_join import Reuse

# So many failures are told in full at the end; the summary has all of them.
_TOLD_FAILURES = 10
_COLOURS = {"promoted": "green", "failed": "red", "need_more_data": "yellow", "interrupted": "yellow"}


def optimize_many(
    app: AppConfig,
    optimizations: Mapping[str, PromptOptimizationModel],
    *,
    run_dir: str | None,
    parallel: int | None,
    reuse: Reuse,
    require: bool,
    junit: str | None,
    as_json: bool,
) -> int:
    """Run all, show what they came to, and return the exit status of ``--require promote``, 0 without ``require``.

    Raises:
        InputError: ``run_dir`` or the environment can't be used; nothing was called.
        EvaluationError: some failed; the others have run.
        KeyboardInterrupt: it was interrupted.
    """
    from engine.batch import batch_run_dir, run_batch
    from engine.errors import EvaluationError
    from engine.junit import write_junit

    folder = run_dir or batch_run_dir(app)
    try:
        with shown_batch(quiet=as_json) as observer:
            result = run_batch(app, optimizations, run_dir=folder, parallel=parallel, reuse=reuse, observer=observer)
    except KeyboardInterrupt:
        click.echo(f"to go on with all of them: the same command with --run-dir {folder}", err=True)
        raise
    summary = result.summary
    if junit:
        write_junit(junit, _suites(result))
    if as_json:
        print(json_text([result.result(line) for line in summary.lines if line.is_done]))
    else:
        show_summary(summary, result.page)
    if result.failures:
        raise EvaluationError(
            f"{len(result.failures)} of {len(summary.lines)} optimizations failed:\n{_told(summary)}\n"
            f"the same command with --run-dir {folder} tries them again; those that are done stay"
        )
    return max((required_status(line.status) for line in summary.lines), default=0) if require else 0


def foresee_many(
    app: AppConfig,
    optimizations: Mapping[str, PromptOptimizationModel],
    *,
    run_dir: str | None,
    parallel: int | None,
    as_json: bool,
) -> None:
    """Show what all of them would cost, each and in sum; nothing is called.

    Raises:
        InputError: ``run_dir`` or the environment can't be used.
        EvaluationError: some could not be run; the others are shown.
    """
    from engine.batch import foresee
    from engine.errors import EvaluationError

    with shown_batch(quiet=as_json) as observer:
        found = foresee(app, optimizations, run_dir=run_dir, parallel=parallel, observer=observer)
    if as_json:
        print(json_text([estimate_json(f.name, f.estimate, doubts=f.doubts) for f in found if f.estimate]))
    else:
        show_foreseen(found)
    wrong = [one for one in found if one.error is not None]
    if wrong:
        told = "\n".join(f"  {one.name}: {one.error}" for one in wrong[:_TOLD_FAILURES])
        raise EvaluationError(f"{len(wrong)} of {len(found)} optimizations can't be run:\n{told}")


def show_summary(summary: BatchSummary, page: str) -> None:
    """Print a line for each optimization, the sums, and where to look."""
    from rich.markup import escape
    from rich.table import Table

    console = out()
    table = Table(title="optimizations", title_justify="left")
    numbers = ("seed", "best", "gain", "rows", "calls", "cost", "time")
    for column in ("", "status", *numbers):
        right = column in numbers
        table.add_column(column, justify="right" if right else "left", no_wrap=bool(column), overflow="fold")
    for line in summary.lines:
        colour = _COLOURS.get(line.status)
        word = line.status.replace("_", " ")
        status = f"[{colour}]{word}[/]" if colour else word
        table.add_row(escape(line.name), status, *_numbers(line))
    console.print(table)
    counts = ", ".join(f"{number:,} {status.replace('_', ' ')}" for status, number in summary.counts.items())
    saved = f"; the ledger saved {_money(summary.saved)}" if any(summary.saved.values()) else ""
    console.print(f"[bold]{counts}[/]")
    console.print(
        f"  {summary.total('calls'):,} calls ({summary.total('reused'):,} more answered by the ledger), "
        f"{summary.total('tokens'):,} tokens{f', {_money(summary.costs)}' if summary.costs else ''}, "
        f"{summary.seconds:.0f} s{saved}",
        markup=False,
    )
    console.print(f"  summary {page}", markup=False)


def show_foreseen(found: list[Foreseen]) -> None:
    """Print what each would take at the most, and all together."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="nothing was called; at the most this would be used", title_justify="left", show_footer=True)
    estimates = [one.estimate for one in found if one.estimate is not None]
    costs: dict[str, float] = {}
    for most in estimates:
        if most.cost_high is not None and most.currency:
            costs[most.currency] = costs.get(most.currency, 0.0) + most.cost_high
    table.add_column("", footer=f"{len(estimates):,} to run")
    table.add_column("calls", justify="right", footer=f"{sum(most.calls_high for most in estimates):,}")
    table.add_column("tokens", justify="right", footer=f"{sum(most.tokens_high for most in estimates):,}")
    table.add_column("cost", justify="right", footer=_money(costs) or "no price set")
    for one in found:
        if one.estimate is not None:
            bill = one.estimate
            cost = "no price set" if bill.cost_high is None else f"{bill.cost_high:,.4f} {bill.currency}"
            table.add_row(escape(one.name), f"{bill.calls_high:,}", f"{bill.tokens_high:,}", cost)
        else:
            table.add_row(escape(one.name), one.done.status if one.done else "can't be run", "", "")
    out().print(table)
    show_doubts(sorted({doubt for one in found for doubt in one.doubts}))


def _numbers(line: BatchLine) -> tuple[str, ...]:
    from jobs.terminal import shown_seconds

    def score(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    gain = "" if line.difference is None else f"{line.difference:+.3f}"
    # The currency stands with the sums below.
    cost = "" if line.cost is None else f"{line.cost:,.4f}"
    rows, calls = (f"{number:,}" if number else "" for number in (line.rows, line.calls))
    took = "before" if line.earlier else shown_seconds(line.seconds) if line.seconds else ""
    return score(line.seed_score), score(line.best_score), gain, rows, calls, cost, took


def _money(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:,.4f} {currency}" for currency, amount in amounts.items())


def _told(summary: BatchSummary) -> str:
    lines = [f"  {line.name}: {line.reason}" for line in summary.failed[:_TOLD_FAILURES]]
    more = len(summary.failed) - len(lines)
    return "\n".join([*lines, *([f"  … and {more} more; the summary has them"] if more else [])])


def _suites(result: BatchResult) -> list[Suite]:
    from engine.junit import failed_suite, record_suite
    from engine.record import RunRecord

    found = []
    for line in result.summary.lines:
        if line.is_done:
            record: Any = RunRecord.read(f"{result.summary.run_dir}/{line.run_dir}")
            found.append(record_suite(record))
        else:
            found.append(failed_suite(line.name, line.reason))
    return found
