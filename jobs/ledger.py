"""``promptmill ledger``: what was paid for and kept, and what that saved. Also: ``spark-submit jobs/ledger.py …``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import json_option, param_option, read_config
from jobs.terminal import out, run_command

if TYPE_CHECKING:
    from engine.config import AppConfig
    from engine.ledger_contents import LedgerContents
    from udfs.endpoint import Endpoint
    from udfs.ledger import LedgerLocation

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _place_options(command: _Command) -> _Command:
    config = click.option(
        "--config", "config_path", metavar="FILE", help="The configuration whose storage.root holds the ledger."
    )
    root = click.option("--root", metavar="PATH", help="That storage.root: a path or URI.  [default: .promptmill]")
    return config(root(param_option(command)))


@click.group("ledger")
def command() -> None:
    """Look after the ledger: every answer that was paid for, kept so that it is never paid for again.

    It lies below storage.root and is shared by all runs there. Nothing in it ever expires: how long answers are kept
    is yours to decide. To drop it all, delete the folder ledger below storage.root.

    \b
      promptmill ledger show                                what it holds, and what it saved so far
      promptmill ledger show --config conf/migration.yaml   the same, of the ledger that this configuration uses
      promptmill ledger compact                             merge its many small files into few
    """


@command.command("show")
@_place_options
@json_option
def show(config_path: str | None, root: str | None, as_json: bool) -> None:
    """Say what the ledger holds and what it saved.

    By endpoint (a model with its sampling parameters): answers, the judges' verdicts, the reflection model's replies,
    and refusals, which are kept too: what a content filter or the context length refused would be refused again
    (--retry-failed of evaluate and optimize calls them all the same). Starts no Spark and calls nothing.
    """
    from engine.ledger_contents import ledger_contents

    app, ledger = _ledger(config_path, root)
    contents = ledger_contents(ledger, _configured(app))
    if as_json:
        print(json.dumps(contents.to_dict(), indent=2))
    else:
        _print(contents)


@command.command("compact")
@_place_options
@json_option
def compact(config_path: str | None, root: str | None, as_json: bool) -> None:
    """Merge the ledger's many small files into few, so that runs start faster.

    Runs do this by themselves when there are 200 small ones. What is merged keeps every answer, the latest where a call
    was paid for twice. The old files stay for a day, because a run may be reading them; a compact after that takes them
    away. Safe at any time, also while runs use the ledger.
    """
    from engine.config import AppConfig
    from engine.ledger_compaction import SparkMerge, remove_superseded
    from engine.ledger_compaction import compact as merge_segments
    from engine.session import configured_session

    app, ledger = _ledger(config_path, root)
    done = merge_segments(ledger, SparkMerge(configured_session(app or AppConfig())))
    removed = remove_superseded(ledger)
    if as_json:
        print(json.dumps({"compacted": asdict(done) if done else None, "removed": asdict(removed)}, indent=2))
        return
    console = out()
    console.print(f"ledger {ledger.folder}", markup=False)
    console.print(
        f"  merged {done.merged:,} segments ({_size(done.bytes_before)}) into {done.into:,} ({_size(done.bytes_after)})"
        if done
        else "  nothing to merge: there are fewer than two small segments"
    )
    if removed.files:
        console.print(f"  removed {removed.files:,} files ({_size(removed.bytes)}) that were merged over a day ago")
    elif done:
        console.print("  the merged ones stay for a day, as runs may be reading them; a later compact takes them away")


def _ledger(config_path: str | None, root: str | None) -> tuple[AppConfig | None, LedgerLocation]:
    from engine.errors import InputError
    from engine.storage import Storage

    if config_path and root:
        raise InputError("--config says where the ledger is, and --root does, too; give one of them")
    app = read_config(config_path) if config_path else None
    place = app.storage.root if app else root or ".promptmill"
    return app, Storage.at(place, ".").ledger


def _configured(app: AppConfig | None) -> list[Endpoint]:
    """Return the endpoints that a configuration asks, each as it asks it."""
    found: list[Endpoint] = []
    for settings in app.optimizations.prompt_optimizations.values() if app else ():
        models = (settings.agent.model, settings.source_model, settings.scorer_model)
        found += [model.endpoint() for model in models if model is not None]
        if settings.reflection_model is not None:
            found += [
                settings.reflection_model.endpoint(),
                settings.reflection_model.endpoint(temperature=settings.search.temperature),
            ]
    return found


def _print(contents: LedgerContents) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    console.print(f"ledger {contents.folder}", markup=False)
    if not contents.endpoints:
        console.print("  holds nothing yet" if not contents.damaged else "  holds nothing that can be read")
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("model", "endpoint", "answers", "refused", "verdicts", "reflections", "tokens"):
            named = column in {"model", "endpoint"}
            table.add_column(column, justify="left" if named else "right", no_wrap=column != "model")
        for line in contents.endpoints:
            counts = (line.answers, line.failures, line.verdicts, line.reflections)
            tokens = line.prompt_tokens + line.completion_tokens
            shown = [_short(number) if number else "" for number in (*counts, tokens)]
            table.add_row(line.model or "not recorded", line.endpoint_id[:8], *shown)
        console.print(table)
        console.print("  tokens: what these calls took when they were paid for; exact numbers with --json")
    console.print(f"  {contents.segments:,} segments, {_size(contents.bytes)}")
    if contents.oldest is not None and contents.newest is not None:
        console.print(f"  answered from {_day(contents.oldest)} to {_day(contents.newest)}")
    if contents.superseded:
        console.print(
            f"  and {contents.superseded:,} merged ones, {_size(contents.superseded_bytes)}, which "
            "`promptmill ledger compact` takes away a day after they were merged"
        )
    for name, reason in contents.damaged.items():
        console.print(f"  damaged and passed over: {name}: {reason}", markup=False)
    if contents.damaged:
        console.print("  what only damaged ones held is called again; they can be deleted")
    saved = contents.saved
    if saved.runs:
        cost = "".join(f", {amount:,.4f} {currency}" for currency, amount in sorted(saved.cost.items()))
        tokens_saved = saved.prompt_tokens + saved.completion_tokens
        console.print(f"saved in {saved.runs:,} runs: {saved.calls:,} calls, {tokens_saved:,} tokens{cost}")
    else:
        console.print("saved: no run has recorded a use of it yet")


def _short(count: int) -> str:
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:,.1f} M"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


if __name__ == "__main__":
    run_command(command)
