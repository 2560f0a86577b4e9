"""How the command talks to a person: progress, lines, errors without a traceback, exit statuses."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from engine.local_model import Fetched
    from engine.progress import Progress, Snapshot

# Where the output is no terminal (a job's log), a line of progress at most so often.
_LINE_EVERY_S = 30.0
# The threads of a batch are called so, with the optimization's key behind it: see engine.batch.schedule.
_OF_A_BATCH = "optimize "
# Libraries whose INFO lines would drown ours.
_CHATTY = ("mlflow", "alembic", "py4j", "pyspark", "databricks", "asyncio")


def run_command(command: click.Command) -> None:
    """Run a command of ours as a program and exit with its status.

    0 done; 1 failed; 2 bad input or usage; 3 and 4 with ``--require promote``; 130 after Ctrl-C, 143 after SIGTERM.
    What a person can mend is one message without a traceback.
    """
    _set_up_logging()
    # A configuration may name a function of the user's, which stands where he does; what is installed goes before it.
    sys.path.append(str(Path.cwd()))
    from engine.interruption import Terminated, raise_on_sigterm
    from udfs.errors import InputError, PromptmillError

    raise_on_sigterm()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        status = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = 2
    except (click.Abort, KeyboardInterrupt) as error:
        console.print(
            "interrupted; what was answered is kept: the same --run-dir goes on with the run (quickstart: --keep)"
        )
        # click makes an Abort of every KeyboardInterrupt.
        status = 143 if isinstance(error.__cause__ or error, Terminated) else 130
    except InputError as error:
        console.print("[bold red]error:[/] ", end="")
        console.print(str(error), markup=False)
        status = 2
    except PromptmillError as error:
        console.print("[bold red]failed:[/] ", end="")
        console.print(str(error), markup=False)
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _set_up_logging() -> None:
    # MLflow phones home and fetches a price list unless told not to; neither belongs into a batch job.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    # py4j logs a whole traceback for a Ctrl-C that we tell in one line ourselves.
    handler.addFilter(lambda record: not str(record.msg).startswith("KeyboardInterrupt while sending command"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Format(logging.Formatter):
    """What a person should know as it is; what may need mending with its origin."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = super().format(record)
        if (record.threadName or "").startswith(_OF_A_BATCH):
            text = f"{(record.threadName or '').removeprefix(_OF_A_BATCH)}: {text}"
        return f"  {text}" if record.levelno <= logging.INFO else f"{record.levelname} {record.name}: {text}"


def out() -> Console:
    """Return the console for results; it folds nothing, so that output can be piped."""
    return Console(highlight=False, soft_wrap=True)


@contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Show progress while the block runs: a bar in a terminal, a line now and then elsewhere; on stderr."""
    from engine.progress import Progress

    if quiet:
        yield Progress()
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        lines = _Lines(console)
        yield Progress(show=lines.show, say=lambda line: console.print(f"  {line}", markup=False))
        return
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        transient=True,
    )
    with bars:
        bar = bars.add_task("", total=None, facts="", visible=False)

        def show(snapshot: Snapshot) -> None:
            bars.update(
                bar,
                description=snapshot.stage,
                total=snapshot.total,
                completed=snapshot.done,
                facts=facts(snapshot),
                visible=snapshot.total > 0,
            )

        yield Progress(show=show, say=lambda line: bars.console.print(f"  {line}", markup=False))


@contextmanager
def download_progress() -> Iterator[Callable[[Fetched], None]]:
    """Show how far downloads are while the block runs; on stderr."""
    from engine.local_model import LogProgress

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield LogProgress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}

        def show(fetched: Fetched) -> None:
            key = (fetched.file_name, fetched.source)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{fetched.file_name} from {fetched.source}", total=fetched.total_bytes)
            bars.update(tasks[key], completed=fetched.done_bytes)

        yield show


def facts(snapshot: Snapshot) -> str:
    """Return what stands beside the bar: score, tokens, time taken and left."""
    tasks, parts = snapshot.tasks, []
    if tasks.warming_up:
        parts.append("the endpoint had scaled to zero and is warming up")
    if snapshot.score is not None:
        parts.append(f"score {snapshot.score:.3f}")
    if snapshot.per_s:
        parts.append(f"{snapshot.per_s:,.0f} rows/s")
    counts = ("in flight", tasks.in_flight), ("refused", tasks.refused), ("retried", tasks.retried)
    parts += [f"{count:,} {name}" for name, count in (*counts, ("failed", tasks.failed)) if count]
    if tasks.reused:
        parts.append(f"{tasks.reused:,} from the ledger")
    if tasks.tokens:
        parts.append(f"{tasks.tokens:,} tokens")
    if tasks.cost:
        parts.append(f"{tasks.cost:,.4f} {snapshot.currency}")
    parts.append(shown_seconds(snapshot.elapsed_s))
    if snapshot.left_s is not None and snapshot.done < snapshot.total:
        parts.append(f"about {shown_seconds(snapshot.left_s)} left")
    return " · ".join(parts)


def shown_seconds(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> shown_seconds(42), shown_seconds(200), shown_seconds(8000)
    ('42 s', '3 min 20 s', '2 h 13 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class _Lines:
    """Progress as lines: at the end of each stage, and every few seconds within a long one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0
        self._ended: str | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        ended = snapshot.done >= snapshot.total and snapshot.total > 0
        if ended and snapshot.stage == self._ended and snapshot.score is None:
            return  # told already, when the last answers were seen on storage
        self._ended = snapshot.stage if ended else None
        if ended or (snapshot.done and now - self._last > _LINE_EVERY_S):
            self._last = now
            self._console.print(f"{snapshot.stage}: {snapshot.done}/{snapshot.total} · {facts(snapshot)}", markup=False)
