"""``promptmill optimize``: search, prove, register. Also: ``spark-submit jobs/optimize.py --config …``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.batch import foresee_many, optimize_many
from jobs.estimates import estimate_json, show_estimate
from jobs.options import (
    chosen,
    config_option,
    dry_run_option,
    exclude_option,
    json_option,
    junit_option,
    only_option,
    parallel_option,
    read_config,
    replay_option,
    require_option,
    required_status,
    resume_option,
    retry_failed_option,
    run_dir_option,
)
from jobs.results import json_text, show_bill, show_doubts
from jobs.terminal import out, run_command, shown_progress

if TYPE_CHECKING:
    from engine.config import AppConfig, PromptOptimizationModel
    from engine.ledger_join import Reuse
    from engine.outcome import OptimizationResult
    from engine.record import RunRecord

# Lines of a diff that a terminal shows.
_DIFF_LINES = 24


@click.command("optimize")
@config_option
@only_option
@exclude_option
@run_dir_option
@resume_option
@parallel_option
@dry_run_option
@require_option
@replay_option
@retry_failed_option
@junit_option
@json_option
def command(
    config_path: str,
    only: Sequence[str],
    exclude: Sequence[str],
    run_dir: str | None,
    resume: bool,
    parallel: int | None,
    dry_run: bool,
    require: str | None,
    replay: bool,
    retry_failed: bool,
    junit: str | None,
    as_json: bool,
) -> int:
    """Rewrite prompts so that the new model answers like the old one, and prove it.

    Searches on train and val rows, judges the best prompt on holdout rows that the search never saw, and registers it
    in the MLflow Prompt Registry. Writes result.json and report.html into the run directory. Several optimizations run
    at the same time, each with a folder of its own there, beside summary.json and summary.html.

    \b
      promptmill optimize --config conf/migration.yaml --dry-run
      promptmill optimize --config conf/migration.yaml --run-dir runs/first
      promptmill optimize --config conf/migration.yaml --exclude 'legacy_*' --resume
      promptmill optimize --config conf/migration.yaml --require promote --junit verdict.xml      in CI
    """
    from engine.batch import is_batch
    from engine.errors import InputError
    from engine.junit import check_writable
    from engine.ledger_join import Reuse

    if retry_failed and not (run_dir or resume):
        raise InputError("--retry-failed goes on with a run; say which with --run-dir or --resume")
    reuse = Reuse(replay=replay, retry_failed=retry_failed)
    app = read_config(config_path)
    todo = chosen(app, only, exclude)
    check_writable(junit)
    if resume:
        run_dir = _to_go_on(app, todo, run_dir)
    several = len(todo) > 1 or is_batch(run_dir)
    if several and dry_run:
        foresee_many(app, todo, run_dir=run_dir, parallel=parallel, as_json=as_json)
        return 0
    if several:
        return optimize_many(
            app,
            todo,
            run_dir=run_dir,
            parallel=parallel,
            reuse=reuse,
            require=require is not None,
            junit=junit,
            as_json=as_json,
        )
    (settings,) = todo.values()
    if dry_run:
        _foresee(app, settings, run_dir, reuse, as_json=as_json)
        return 0
    result = _run(app, settings, run_dir, reuse, junit=junit, as_json=as_json)
    return required_status(result.record.result["status"]) if require else 0


def _to_go_on(app: AppConfig, todo: Mapping[str, PromptOptimizationModel], run_dir: str | None) -> str:
    """Return the run directory that ``--resume`` means.

    Raises:
        InputError: there is none.
    """
    from engine.batch import is_batch, newest_batch
    from engine.errors import InputError

    if run_dir is None:
        return newest_batch(app, todo)
    file = "batch.json" if len(todo) > 1 else "run.json"
    if not is_batch(run_dir) and not (Path(run_dir) / file).exists():
        raise InputError(
            f"--resume --run-dir {run_dir}: holds no run to go on with ({file} is missing); leave --resume out"
        )
    return run_dir


def _foresee(
    app: AppConfig, settings: PromptOptimizationModel, run_dir: str | None, reuse: Reuse, *, as_json: bool
) -> None:
    """Show what one optimization would cost."""
    from engine.migration import prepare

    with shown_progress(quiet=as_json) as progress:
        migration = prepare(app, settings, run_dir=run_dir, progress=progress, reuse=reuse)
        estimate = migration.estimate()
    if as_json:
        print(json_text(estimate_json(settings.name, estimate, doubts=migration.doubts)))
    else:
        show_estimate(settings.name, estimate, capped=settings.budget.is_set, doubts=migration.doubts)


def _run(
    app: AppConfig,
    settings: PromptOptimizationModel,
    run_dir: str | None,
    reuse: Reuse,
    *,
    junit: str | None,
    as_json: bool,
) -> OptimizationResult:
    """Run one optimization, and show what it came to.

    Raises:
        PromptmillError: it failed; where a JUnit file is asked for, that says so, too.
    """
    from engine.errors import PromptmillError
    from engine.junit import failed_suite, record_suite, write_junit
    from engine.migration import optimize

    try:
        with shown_progress(quiet=as_json) as progress:
            result = optimize(app, settings, run_dir=run_dir, progress=progress, reuse=reuse)
    except PromptmillError as error:
        if junit:
            write_junit(junit, [failed_suite(settings.name, error)])
        raise
    if junit:
        write_junit(junit, [record_suite(result.record)])
    if as_json:
        print(json_text(dict(result.record.result)))
    else:
        show_result(result)
    return result


def show_result(result: OptimizationResult) -> None:
    """Print what a run came to: the scores, the diff, the verdict, and where to look."""
    show_candidates(result.record)
    show_changes(result.record)
    out().print()
    show_verdict(result.record)
    out().print(f"  report  {result.run_dir}/report.html", markup=False)


def show_candidates(record: RunRecord) -> None:
    """Print the candidates with their scores and what became of them."""
    from rich.markup import escape
    from rich.table import Table

    best = (record.result["best"] or {}).get("candidate_id")
    table = Table(title="candidates", title_justify="left")
    for column in ("", "proposer", "step", "minibatch", "val", "what became of it"):
        table.add_column(column, justify="right" if column in {"step", "minibatch", "val"} else "left")
    for line in record.candidates:
        minibatch = "" if line.minibatch_after is None else f"{line.minibatch_before:.2f} → {line.minibatch_after:.2f}"
        val = "" if line.val_score is None else f"{line.val_score:.3f} on {line.val_rows}"
        mark = "[bold green]winner[/]" if line.candidate_id == best else ""
        fate = mark or escape(line.reason or line.status)
        table.add_row(line.label, line.proposer, str(line.step), minibatch, val, fate)
    out().print(table)


def show_changes(record: RunRecord) -> None:
    """Print the diff of each prompt that the best candidate changes."""
    from rich.markup import escape

    from engine.record import PartLine

    if record.best_text == record.seed_text:
        return
    for part in record.parts or (PartLine("prompt", record.seed_text, record.best_text),):
        if part.best_text != part.seed_text:
            out().print(f"[bold]the best {escape(part.name)} against the seed[/]")
            show_diff(part.seed_text, part.best_text)


def show_verdict(record: RunRecord) -> None:
    """Print the status and why, what it rests on, and what it took."""
    from rich.markup import escape

    console, found = out(), record.result
    show_doubts(record.notes)
    colour = "green" if found["status"] == "promoted" else "yellow"
    console.print(f"[bold {colour}]{found['status']}[/]: {escape(record.verdict)}")
    if found["holdout"]:
        console.print(f"  holdout, {_holdout_line(found)}", markup=False)
    show_bill(found["calls"], found["tokens"], found["cost"], seconds=found["seconds"])
    for prompt in found["prompts"]:
        console.print(f"  prompt  {prompt['uri'] or prompt['name'] + ' is not registered; its text is in result.json'}")


def _holdout_line(found: Mapping[str, Any]) -> str:
    holdout = found["holdout"]
    if not holdout["rows"]:
        return "no row was evaluated for both prompts"
    low, high = holdout["interval"]
    return (
        f"{holdout['rows']} rows never seen by the search: seed {found['seed']['holdout_score']:.3f}, "
        f"best {found['best']['holdout_score']:.3f}, difference {holdout['difference']:+.3f} "
        f"[{low:+.3f}, {high:+.3f}] at {1 - holdout['alpha']:.0%}"
    )


def show_diff(before: str, after: str) -> None:
    """Print a diff of two prompts, its beginning where it is long."""
    import difflib

    from rich.text import Text

    console = out()
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "seed", "best", lineterm="", n=2))
    for line in lines[:_DIFF_LINES]:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(f"  {line}", style=style))
    if len(lines) > _DIFF_LINES:
        console.print(f"  … and {len(lines) - _DIFF_LINES} more lines; the report shows the whole")


if __name__ == "__main__":
    run_command(command)
