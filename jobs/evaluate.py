"""``promptmill evaluate``: score prompts over a data set. Also: ``spark-submit jobs/evaluate.py --config …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
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
    retry_failed_option,
    run_dir_option,
)
from jobs.results import json_text, show_bill, show_doubts
from jobs.terminal import out, run_command, shown_progress

if TYPE_CHECKING:
    from engine.comparison import Comparison


@click.command("evaluate")
@config_option
@click.option("--only", metavar="NAME", help="The optimization whose target, data set and scorers are used.")
@click.option(
    "--prompt",
    "prompts",
    metavar="FILE_OR_URI",
    multiple=True,
    help="A prompt to score: a text file or prompts:/name/version; may be repeated. Of a program's several prompts: "
    "part=FILE_OR_URI, once for each part that is new; a part that comes again begins the next program.  [default: the "
    "configured one]",
)
@run_dir_option
@dry_run_option
@replay_option
@retry_failed_option
@json_option
def command(
    config_path: str,
    only: str | None,
    prompts: Sequence[str],
    run_dir: str | None,
    dry_run: bool,
    replay: bool,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Score one or more prompts over the whole data set, side by side, as far as the optimization's budget goes.

    \b
      promptmill evaluate --config conf/migration.yaml --dry-run
      promptmill evaluate --config conf/migration.yaml
      promptmill evaluate --config conf/migration.yaml --prompt prompts:/classify/1 --prompt new.txt
      promptmill evaluate --config conf/migration.yaml --replay      the same scores again, offline
    """
    from engine.assessment import assess
    from engine.comparison import scored
    from engine.ledger_join import Reuse

    reuse = Reuse(replay=replay, retry_failed=retry_failed)
    app = read_config(config_path)
    settings = one(app, only)
    with shown_progress(quiet=as_json) as progress:
        prepared = assess(app, settings, prompts, command="evaluate", run_dir=run_dir, progress=progress, reuse=reuse)
        found = None if dry_run else scored(prepared)
    if found is None:
        estimate = prepared.estimate(first_rows=prepared.rows_at_most)
        tell_estimate(settings.name, estimate, as_json=as_json, capped=settings.budget.is_set, doubts=prepared.doubts)
    elif as_json:
        print(json_text(asdict(found)))
    else:
        show_comparison(found)


def show_comparison(found: Comparison) -> None:
    """Print each prompt's score and what it rests on."""
    console = out()
    show_doubts(found.doubts)
    for line in found.prompts:
        score = "unscored" if line.score is None else f"{line.score:.3f}"
        console.print(f"{score}  {line.scored}/{line.rows} rows scored  {line.place}", markup=False)
    if found.pairs_not_asked:
        console.print(
            f"  the budget did not cover {found.pairs_not_asked:,} calls; scores are over what it covered of "
            f"{found.rows:,} rows"
        )
    show_bill(found.calls, found.tokens, found.cost, seconds=found.seconds)
    console.print(f"  row by row  {found.table}", markup=False)


if __name__ == "__main__":
    run_command(command)
