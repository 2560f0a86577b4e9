"""``promptmill gate``: the verdict without a search. Also: ``spark-submit jobs/gate.py --config …``."""

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
    junit_option,
    one,
    read_config,
    replay_option,
    require_option,
    required_status,
    retry_failed_option,
    run_dir_option,
)
from jobs.results import json_text, show_bill, show_doubts
from jobs.terminal import out, run_command, shown_progress

if TYPE_CHECKING:
    from engine.gate_record import Challenge, Challenger


@click.command("gate")
@config_option
@click.option("--only", metavar="NAME", help="The optimization whose target, data set, scorers and gate are used.")
@click.option(
    "--prompt",
    "prompts",
    metavar="FILE_OR_URI",
    multiple=True,
    required=True,
    help="The new prompt: a text file or prompts:/name/version. May be repeated; many tries make no false "
    "promotion likelier. Of a program's several prompts: part=FILE_OR_URI, once for each part that is new; a part that "
    "comes again begins the next program.",
)
@click.option(
    "--current",
    metavar="FILE_OR_URI",
    multiple=True,
    help="The prompt to beat, such as prompts:/name@champion; part=FILE_OR_URI of a program's several.  [default: the "
    "configured one]",
)
@click.option(
    "--holdout",
    is_flag=True,
    help="Judge on holdout rows alone: for a prompt that a search with this configuration has found, because it has "
    "seen the others.",
)
@click.option(
    "--all-rows",
    is_flag=True,
    help="Score every row with every prompt, instead of stopping as soon as the answer is known.",
)
@run_dir_option
@dry_run_option
@require_option
@replay_option
@retry_failed_option
@junit_option
@json_option
def command(
    config_path: str,
    only: str | None,
    prompts: Sequence[str],
    current: Sequence[str],
    holdout: bool,
    all_rows: bool,
    run_dir: str | None,
    dry_run: bool,
    require: str | None,
    replay: bool,
    retry_failed: bool,
    junit: str | None,
    as_json: bool,
) -> int:
    """Judge a new prompt against the current one, as optimize does at its end, but without a search.

    For a prompt that somebody has written, and for CI: is it better, with confidence, on the rows of the data set? Both
    prompts are scored on the target, in rounds of growing size, until the answer is known or the budget of the
    optimization ends; what the ledger has is not paid for again. Nothing is registered, and no alias moves. Writes
    gate.json into the run directory.

    \b
      promptmill gate --config conf/migration.yaml --prompt new.txt --dry-run
      promptmill gate --config conf/migration.yaml --prompt new.txt
      promptmill gate --config conf/migration.yaml --prompt new.txt --current prompts:/classify@champion
      promptmill gate --config conf/migration.yaml --prompt new.txt --require promote --junit verdict.xml

    \b
    Exit status with --require promote:
      0 promote · 3 keep the current prompt · 4 more data is needed to tell · 1 failed · 2 bad input
    """
    from engine.challenge import foreseen, judged, prepare
    from engine.errors import PromptmillError
    from engine.gate_record import FILE_NAME
    from engine.junit import challenge_suites, check_writable, failed_suite, write_junit
    from engine.ledger_join import Reuse

    reuse = Reuse(replay=replay, retry_failed=retry_failed)
    app = read_config(config_path)
    settings = one(app, only)
    check_writable(junit)
    try:
        with shown_progress(quiet=as_json) as progress:
            prepared = prepare(
                app,
                settings,
                prompts,
                current=current,
                holdout_only=holdout,
                run_dir=run_dir,
                progress=progress,
                reuse=reuse,
            )
            estimate = foreseen(prepared, all_rows=all_rows) if dry_run else None
            found = judged(prepared, all_rows=all_rows) if estimate is None else None
    except PromptmillError as error:
        if junit and not dry_run:
            write_junit(junit, [failed_suite(settings.name, error)])
        raise
    if estimate is not None:
        tell_estimate(settings.name, estimate, as_json=as_json, capped=settings.budget.is_set, doubts=prepared.doubts)
        return 0
    if found is None:
        raise AssertionError("neither judged nor foreseen")
    text = json_text(found.to_json())
    Path(found.run_dir, FILE_NAME).write_text(text + "\n", "utf-8")
    if junit:
        write_junit(junit, challenge_suites(found))
    if as_json:
        print(text)
    else:
        show_challenge(found)
    return required_status(found.status) if require else 0


def show_challenge(found: Challenge) -> None:
    """Print each prompt's verdict and what it rests on."""
    console = out()
    show_doubts(found.doubts)
    for prompt in found.prompts:
        _show(prompt, found)
    if found.looks:
        spared = f"; {found.pairs_not_asked:,} calls were not made" if found.pairs_not_asked else ""
        console.print(
            f"  {found.asked_rows:,} of {found.planned_rows:,} rows asked, at {found.looks} "
            f"look{'s' if found.looks > 1 else ''}{spared}"
        )
    show_bill(found.calls, found.tokens, found.cost, seconds=found.seconds)
    console.print(f"  in full  {found.run_dir}/gate.json", markup=False)
    if found.table:
        console.print(f"  row by row  {found.table}", markup=False)


def _show(prompt: Challenger, found: Challenge) -> None:
    from rich.markup import escape

    console = out()
    colour = "green" if prompt.status == "promoted" else "yellow"
    console.print(f"[bold {colour}]{prompt.status}[/]  {escape(prompt.place)}: {escape(prompt.reason)}")
    if prompt.rows:
        low, high = (_shown(edge, "+.3f") for edge in prompt.interval)
        console.print(
            f"  {prompt.rows:,} of {found.rows:,} rows scored for both: {found.current} "
            f"{_shown(prompt.current_score, '.3f')}, new {_shown(prompt.score, '.3f')}, difference "
            f"{_shown(prompt.difference, '+.3f')} [{low}, {high}] at {1 - prompt.alpha:.4g} confidence; {prompt.won:,} "
            f"rows won, {prompt.lost:,} lost",
            markup=False,
        )
    if prompt.no_worse:
        low, high = (_shown(edge, "+.3f") for edge in prompt.no_worse["interval"])
        console.print(
            f"  the source model's recorded answers {_shown(prompt.no_worse['source_score'], '.3f')}: difference to "
            f"them {_shown(prompt.no_worse['difference'], '+.3f')} [{low}, {high}], allowed "
            f"{-prompt.no_worse['margin']:+.3f}",
            markup=False,
        )
    if prompt.judge_noise and prompt.judge_noise["widened"]:
        console.print(
            f"  the judges' noise (a standard deviation of {prompt.judge_noise['sd']:.3f} a row) widened the interval"
        )
    for line in prompt.slices:
        console.print(
            f"  {line.name}={line.value}: {line.seed_score:.3f} → {line.best_score:.3f} on {line.rows:,} rows",
            markup=False,
        )


def _shown(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


if __name__ == "__main__":
    run_command(command)
