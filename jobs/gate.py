"""``promptmill gate``: the verdict without a search. Also: ``spark-submit jobs/gate.py --config …``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import (
    config_option,
    json_option,
    junit_option,
    one,
    replay_option,
    require_option,
    required_status,
    retry_failed_option,
    run_dir_option,
)
from jobs.terminal import out, run_command, shown_progress

if TYPE_CHECKING:
    from engine.challenge import Challenge, Challenger


@click.command("gate")
@config_option
@click.option("--only", metavar="NAME", help="The optimization whose target, data set, scorers and gate are used.")
@click.option(
    "--prompt",
    "prompts",
    metavar="FILE_OR_URI",
    multiple=True,
    required=True,
    help="The new prompt: a text file or prompts:/name/version. May be repeated; each is then judged more strictly, so "
    "that many tries make no false promotion likelier.",
)
@click.option(
    "--current",
    metavar="FILE_OR_URI",
    help="The prompt to beat, such as prompts:/name@champion.  [default: the configured one]",
)
@click.option(
    "--holdout",
    is_flag=True,
    help="Judge on holdout rows alone: for a prompt that a search with this configuration has found, because it has "
    "seen the others.",
)
@run_dir_option
@require_option
@replay_option
@retry_failed_option
@junit_option
@json_option
def command(
    config_path: str,
    only: str | None,
    prompts: Sequence[str],
    current: str | None,
    holdout: bool,
    run_dir: str | None,
    require: str | None,
    replay: bool,
    retry_failed: bool,
    junit: str | None,
    as_json: bool,
) -> int:
    """Judge a new prompt against the current one, as optimize does at its end, but without a search.

    For a prompt that somebody has written, and for CI: is it better, with confidence, on the rows of the data set? Both
    prompts are scored on the target, row by row; what the ledger has is not paid for again. Nothing is registered, and
    no alias moves. Writes gate.json into the run directory.

    \b
      promptmill gate --config conf/migration.yaml --prompt new.txt
      promptmill gate --config conf/migration.yaml --prompt new.txt --current prompts:/classify@champion
      promptmill gate --config conf/migration.yaml --prompt new.txt --require promote --junit verdict.xml

    \b
    Exit status with --require promote:
      0 promote · 3 keep the current prompt · 4 more data is needed to tell · 1 failed · 2 bad input
    """
    from engine.challenge import FILE_NAME, challenge
    from engine.config import AppConfig
    from engine.errors import PromptmillError
    from engine.junit import challenge_suites, check_writable, failed_suite, write_junit
    from engine.ledger_join import Reuse

    reuse = Reuse(replay=replay, retry_failed=retry_failed)
    app = AppConfig.from_file(config_path)
    settings = one(app, only)
    check_writable(junit)
    try:
        with shown_progress(quiet=as_json) as progress:
            found = challenge(
                app,
                settings,
                prompts,
                current=current,
                holdout_only=holdout,
                run_dir=run_dir,
                progress=progress,
                reuse=reuse,
            )
    except PromptmillError as error:
        if junit:
            write_junit(junit, [failed_suite(settings.name, error)])
        raise
    text = json.dumps(found.to_json(), indent=2, ensure_ascii=False)
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
    from rich.markup import escape

    console = out()
    for one_ in found.prompts:
        _show(one_, found)
    for doubt in found.doubts:
        console.print(f"[yellow]  {escape(doubt)}[/]")
    cost = "" if found.cost is None else f", {found.cost['amount']:.4f} {found.cost['currency']}"
    console.print(
        f"  {found.calls['made']:,} calls ({found.calls['reused']:,} more answered by the ledger), "
        f"{found.tokens['prompt'] + found.tokens['completion']:,} tokens{cost}, {found.seconds:.0f} s"
    )
    console.print(f"  in full  {found.run_dir}/gate.json", markup=False)
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
    for line in prompt.slices:
        console.print(
            f"  {line.name}={line.value}: {line.seed_score:.3f} → {line.best_score:.3f} on {line.rows:,} rows",
            markup=False,
        )


def _shown(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


if __name__ == "__main__":
    run_command(command)
