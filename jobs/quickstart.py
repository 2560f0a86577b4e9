"""``promptmill quickstart``: a whole migration on a local model, without an account anywhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.optimize import show_result
from jobs.terminal import download_progress, out, run_command, shown_progress

if TYPE_CHECKING:
    from engine.config import AppConfig

_CONFIG = "quickstart.yaml"
_OPTIMIZATION = "route_topic"
# On two cores the model is bound by computing, and each slot reads a new prompt's demonstrations for itself: measured,
# one slot answers 2.2 requests/s with 20 demonstrations, two 1.7, four 1.2.
_PARALLEL = 1


@click.command("quickstart")
@click.option("--seed", default=0, show_default=True, help="Of the split and the search.")
@click.option("--folder", default=".quickstart", show_default=True, help="Where everything is written.")
@click.option(
    "--keep", is_flag=True, help="Keep what an earlier quickstart left in the folder: its answers are reused."
)
def command(seed: int, folder: str, keep: bool) -> None:
    """Migrate a prompt to a local model, end to end, and show what was done.

    Real utterances are to be routed to their topic. Their topics stand for the answers that the old model gave; they
    are recorded as MLflow traces, and the prompt, which does not name the topics, is rewritten until a small local
    model gives those answers. Takes a few minutes after the downloads (0.5 GB of weights, once).
    """
    started = time.monotonic()
    root = Path(folder)
    _fresh(root, keep=keep)
    console = out()
    with ExitStack() as stack:
        console.print("[bold]1. a local model[/], OpenAI-compatible, on this machine")
        base_url = _serve(stack)
        console.print(f"   {base_url}")
        app = _configuration(base_url, root, seed)
        settings = app.optimizations.prompt_optimizations[_OPTIMIZATION]
        console.print("[bold]2. what the old model answered[/], as MLflow traces")
        count, topics = _record(app)
        console.print(f"   {count} utterances of {topics} topics; the topics themselves stand for the old answers")
        from engine.migration import prepare, run

        with shown_progress() as progress:
            migration = prepare(app, settings, run_dir=str(root / "run"), progress=progress)
            split = migration.split
            progress.tell(f"split: {len(split.train)} train, {len(split.val)} val, {split.holdout_rows} holdout rows")
            progress.tell("the seed prompt:")
            for line in migration.seed.text().splitlines():
                progress.tell(f"    {line}")
            result = run(migration)
    console.print("[bold]3. what came of it[/]")
    show_result(result)
    console.print(
        f"\n{time.monotonic() - started:.0f} s in all. Open it in the MLflow UI (prompt, versions, run, traces):"
    )
    console.print(
        f"  make ui      (or: {Path(sys.executable).parent}/promptmill ui --store sqlite:///{root}/mlflow.db)",
        markup=False,
    )


def _fresh(root: Path, *, keep: bool) -> None:
    """Make the folder, empty unless ``keep``; one that no quickstart made is never emptied.

    Raises:
        InputError: the folder holds something else.
    """
    from engine.errors import InputError

    marker = root / ".quickstart"
    if root.exists() and any(root.iterdir()) and not marker.exists():
        raise InputError(f"--folder {root}: is not empty and was not made by a quickstart; give another folder")
    if root.exists() and not keep:
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _serve(stack: ExitStack) -> str:
    """Fetch the weights and serve the model until the stack closes; return its base URL."""
    from engine.local_model import LocalModelProcess, resolve_with_fallback

    with download_progress() as progress:
        model, weights = resolve_with_fallback("qwen2.5-coder-0.5b", progress=progress)
    served = stack.enter_context(
        LocalModelProcess(model.name, weights=weights, parallel=_PARALLEL, context_tokens=2048)
    )
    return served.base_url


def _configuration(base_url: str, root: Path, seed: int) -> AppConfig:
    """Return conf/quickstart.yaml with the model's address, the folder and the seed put in."""
    from engine.config import AppConfig, YamlSource, read_yaml

    # The configuration names the variable; it is set for this process alone.
    os.environ["QUICKSTART_TARGET"] = base_url
    source = read_yaml(_config_path())
    values: dict[str, Any] = dict(source.values)
    values["storage"] = {"root": str(root)}
    values["mlflow"] = {**values["mlflow"], "tracking_uri": f"sqlite:///{root}/mlflow.db"}
    values["optimizations"]["prompt_optimizations"][_OPTIMIZATION]["seed"] = seed
    return AppConfig.from_source(YamlSource(source.path, values, source.node))


def _config_path() -> Path:
    """Find the configuration in a checkout, or where a wheel has put it."""
    from engine.errors import InputError

    places = (Path(__file__).parent.parent / "conf", Path(sys.prefix) / "share" / "promptmill" / "conf")
    for place in places:
        if (place / _CONFIG).is_file():
            return place / _CONFIG
    raise InputError(f"conf/{_CONFIG} was not found in {' or '.join(map(str, places))}; install promptmill anew")


def _record(app: AppConfig) -> tuple[int, int]:
    """Record the utterances with their topics as traces; return how many, and how many topics."""
    from engine.trace_log import AnswerTrace, TraceLog
    from engine.tracking import experiment_id, set_up
    from jobs.quickstart_data import load_records

    set_up(app.mlflow.tracking_uri)
    records: Sequence[dict[str, Any]] = load_records()
    traces = app.optimizations.prompt_optimizations[_OPTIMIZATION].dataset.traces
    if traces is None or traces.experiment is None:
        raise AssertionError("the quickstart's data set is an experiment's traces")
    log = TraceLog(experiment_id(traces.experiment), name="route")
    log.write(
        [
            AnswerTrace(
                key=f"quickstart/{number}",
                inputs=record["inputs"],
                output=record["expectations"]["expected_response"],
                model="recorded topics",
            )
            for number, record in enumerate(records)
        ]
    )
    return len(records), len({record["expectations"]["expected_response"] for record in records})


if __name__ == "__main__":
    run_command(command)
