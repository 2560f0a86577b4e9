"""``promptmill evaluate``: score prompts over a data set. Also: ``spark-submit jobs/evaluate.py --config …``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import config_option, json_option, one, replay_option, retry_failed_option, run_dir_option
from jobs.terminal import out, run_command, shown_progress


@click.command("evaluate")
@config_option
@click.option("--only", metavar="NAME", help="The optimization whose target, data set and scorers are used.")
@click.option(
    "--prompt",
    "prompts",
    metavar="FILE_OR_URI",
    multiple=True,
    help="A prompt to score: a text file or prompts:/name/version; may be repeated.  [default: the configured one]",
)
@run_dir_option
@replay_option
@retry_failed_option
@json_option
def command(
    config_path: str,
    only: str | None,
    prompts: Sequence[str],
    run_dir: str | None,
    replay: bool,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Score one or more prompts over the whole data set, side by side.

    \b
      promptmill evaluate --config conf/migration.yaml
      promptmill evaluate --config conf/migration.yaml --prompt prompts:/classify/1 --prompt new.txt
      promptmill evaluate --config conf/migration.yaml --replay      the same scores again, offline
    """
    from engine.comparison import compare
    from engine.config import AppConfig
    from engine.ledger_join import Reuse

    reuse = Reuse(replay=replay, retry_failed=retry_failed)
    app = AppConfig.from_file(config_path)
    settings = one(app, only)
    with shown_progress(quiet=as_json) as progress:
        found = compare(app, settings, prompts, run_dir=run_dir, progress=progress, reuse=reuse)
    if as_json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    console = out()
    for line in found.prompts:
        score = "unscored" if line.score is None else f"{line.score:.3f}"
        console.print(f"{score}  {line.scored}/{line.rows} rows scored  {line.place}", markup=False)
    tokens = found.tokens["prompt"] + found.tokens["completion"]
    console.print(
        f"{found.calls['made']:,} calls ({found.calls['reused']:,} more answered by the ledger), {tokens:,} tokens, "
        f"{found.seconds:.0f} s"
    )
    console.print(f"row by row: {found.table}", markup=False)


if __name__ == "__main__":
    run_command(command)
