"""``promptmill judge-check``: can the judges be trusted? Also: ``spark-submit jobs/judge_check.py --config …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.estimates import tell_estimate
from jobs.options import (
    config_option,
    dry_run_option,
    json_option,
    one,
    read_config,
    replay_option,
    run_dir_option,
)
from jobs.results import json_text, show_bill
from jobs.terminal import out, run_command, shown_progress

if TYPE_CHECKING:
    from engine.judge_check import JudgeCheck, JudgeReport
    from engine.judge_check.agreement import Proportion

# Contradictions that a terminal shows; the file has more.
_SHOWN = 3


@click.command("judge-check")
@config_option
@click.option("--only", metavar="NAME", help="The optimization whose judges, target and data set are used.")
@click.option(
    "--prompt",
    "prompts",
    metavar="FILE_OR_URI",
    multiple=True,
    help="A prompt whose answers are judged; may be repeated, so that good and bad answers come before the judge.  "
    "[default: the configured one]",
)
@click.option("--rows", type=click.IntRange(2, 10_000), help="Rows to sample.  [default: judge_check.rows, 200]")
@click.option(
    "--labels",
    metavar="PATH",
    help="Answers that people have judged: Parquet, JSON lines or CSV with inputs (or row_id), output, label, and "
    "perhaps expected_response and judge. A label is a verdict's name or a score from 0 to 1.",
)
@run_dir_option
@dry_run_option
@replay_option
@json_option
def command(
    config_path: str,
    only: str | None,
    prompts: Sequence[str],
    rows: int | None,
    labels: str | None,
    run_dir: str | None,
    dry_run: bool,
    replay: bool,
    as_json: bool,
) -> None:
    """Measure the judges: a verdict is only as good as who gives it.

    The current prompt answers a sample of the rows. Each answer is judged twice, which shows the judge's noise; once
    more with the two texts swapped, where the judge compares texts, which shows whether their order counts; and
    against labels, where there are any. A judge below judge_check.min_agreement, or below min_kappa against labels,
    gets a warning. What the ledger has is not paid for again. Writes judge_check.json into the run directory.

    \b
      promptmill judge-check --config conf/migration.yaml --dry-run
      promptmill judge-check --config conf/migration.yaml --rows 100
      promptmill judge-check --config conf/migration.yaml --labels labelled.jsonl

    \b
    A line of labelled.jsonl:
      {"inputs": {"text": "Never again."}, "output": "negative", "label": "same"}
    """
    from engine.judge_check import prepare
    from engine.ledger_join import Reuse

    app = read_config(config_path)
    settings = one(app, only)
    with shown_progress(quiet=as_json) as progress:
        prepared = prepare(
            app,
            settings,
            places=prompts,
            rows=rows,
            labels=labels,
            run_dir=run_dir,
            progress=progress,
            reuse=Reuse(replay=replay),
        )
        found = None if dry_run else prepared.run()
    if found is None:
        tell_estimate(settings.name, prepared.estimate(), as_json=as_json, capped=False)
    elif as_json:
        print(json_text(found.to_json()))
    else:
        show_check(found)


def show_check(found: JudgeCheck) -> None:
    """Print the table, what it means, and every warning."""
    from rich.markup import escape
    from rich.table import Table

    console = out()
    if found.not_judges:
        console.print(f"not a judge, so nothing to measure: {', '.join(found.not_judges)}", markup=False)
    if found.judges:
        table = Table(title=f"judges of {found.optimization}", title_justify="left")
        columns = ("judge", "answers", "agrees with itself", "noise (sd)", "with texts swapped", "with labels", "kappa")
        for column in columns:
            table.add_column(column, justify="left" if column == "judge" else "right")
        for report in found.judges:
            table.add_row(*(escape(cell) for cell in _cells(report)))
        console.print(table)
    for report in found.judges:
        _show_judge(report)
    if found.without_answer:
        console.print(f"{found.without_answer} rows gave no answer to judge")
    if found.judges:
        console.print(
            f"the judges' noise gives one row's score a standard deviation of {found.noise_sd:.3f}, so a mean of 400 "
            f"rows one of {found.noise_sd / 20:.3f}"
        )
    show_bill(found.calls, found.tokens, found.cost, seconds=found.seconds)
    console.print(f"  in full  {found.run_dir}/judge_check.json", markup=False)


def _show_judge(report: JudgeReport) -> None:
    from rich.markup import escape

    console = out()
    verdicts = ", ".join(f"{count} x {name}" for name, count in report.verdicts.items())
    console.print(f"{report.name}: {verdicts or 'no verdict'}", markup=False)
    _show_confusion(report)
    for case in report.contradictions[:_SHOWN]:
        console.print(
            f"  {report.said(case.first)}, and {case.asked} {report.said(case.then)}: {_short(case.inputs)} → "
            f"{_short(case.output)}",
            markup=False,
        )
    for note in report.notes:
        console.print(f"  {note}", markup=False)
    for warning in report.warnings:
        console.print(f"[bold red]WARNING[/] {escape(report.name)}: {escape(warning)}")
    if not report.warnings:
        console.print(f"[green]{escape(report.name)} can be relied on, as far as was measured[/]")


def _cells(report: JudgeReport) -> tuple[str, ...]:
    repeat, order, labels = report.repeat, report.order, report.labels
    kappa = ""
    if labels is not None and labels.kappa is not None and labels.kappa_interval is not None:
        kappa = f"{labels.kappa:.2f} [{labels.kappa_interval[0]:.2f}, {labels.kappa_interval[1]:.2f}]"
    return (
        report.name,
        f"{report.answers:,}",
        _share(repeat.agreement if repeat else None),
        f"{repeat.noise_sd:.3f}" if repeat else "",
        f"{_share(order.agreement)}, shift {order.shift:+.3f}" if order else "compares nothing",
        _share(labels.agreement if labels else None) or "no labels",
        kappa,
    )


def _share(share: Proportion | None) -> str:
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]" if share else ""


def _show_confusion(report: JudgeReport) -> None:
    if report.labels is None:
        return
    every = report.labels.agreement.of
    for (label, verdict), count in report.labels.confusion.items():
        if label != verdict:
            out().print(
                f"  label {report.said(label)}, verdict {report.said(verdict)}: {count} of {every}", markup=False
            )


def _short(text: str, most: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


if __name__ == "__main__":
    run_command(command)
