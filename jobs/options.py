"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from engine.config import AppConfig, PromptOptimizationModel

config_option = click.option(
    "--config",
    "config_path",
    required=True,
    metavar="FILE",
    help="The configuration; conf/migration.yaml is one to copy.",
)
run_dir_option = click.option(
    "--run-dir",
    metavar="DIR",
    help="Where the run keeps its state. Given again, it goes on with that run and pays for nothing twice.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
replay_option = click.option(
    "--replay",
    is_flag=True,
    help="Answer from the ledger alone: no endpoint is called, no key is needed. Fails where the ledger lacks "
    "something, and names it.",
)
retry_failed_option = click.option(
    "--retry-failed",
    is_flag=True,
    help="Also call again what was refused for good, by a content filter or the context length; all other answers "
    "come from the ledger. (Rows that an outage left unscored are called again without it.)",
)
require_option = click.option(
    "--require",
    type=click.Choice(["promote"]),
    help="For CI. Exit with 0 only if a prompt is promoted: 3 when the old one is kept, 4 when more data is needed to "
    "tell, 1 when the run failed, 2 on bad input. Without this option a verdict of any kind ends with 0.",
)
junit_option = click.option(
    "--junit",
    metavar="FILE",
    help="Also write the verdict as JUnit XML, a test case for each question: coverage, difference, every slice.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print calls, tokens and cost; call nothing, pay nothing."
)
only_option = click.option("--only", metavar="NAME", multiple=True, help="Only this optimization; may be repeated.")


def required_status(status: str) -> int:
    """Return the exit status of ``--require promote`` for a verdict."""
    return {"promoted": 0, "kept": 3, "need_more_data": 4}.get(status, 1)


def chosen(app: AppConfig, only: Sequence[str]) -> list[PromptOptimizationModel]:
    """Return the optimizations that ``--only`` names, all without it.

    Raises:
        InputError: there is none, or none of that name.
    """
    from engine.errors import InputError

    every = app.optimizations.prompt_optimizations
    if not every:
        raise InputError("the configuration has no optimizations.prompt_optimizations; nothing to do")
    for name in only:
        if name not in every:
            raise InputError(f"--only {name}: the configuration has no such optimization; it has {', '.join(every)}")
    return [settings for key, settings in every.items() if not only or key in only]


def one(app: AppConfig, only: str | None) -> PromptOptimizationModel:
    """Return the one optimization that is meant.

    Raises:
        InputError: it is not clear which.
    """
    from engine.errors import InputError

    found = chosen(app, [only] if only else [])
    if len(found) > 1:
        names = ", ".join(app.optimizations.prompt_optimizations)
        raise InputError(f"the configuration has several optimizations; say which with --only: {names}")
    return found[0]
