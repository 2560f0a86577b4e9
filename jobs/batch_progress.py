"""Progress of a batch: in a terminal a bar for each optimization that runs and one for all, elsewhere lines."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from jobs.terminal import facts, shown_seconds

if TYPE_CHECKING:
    from engine.batch import BatchLine, BatchObserver
    from engine.progress import Progress, Snapshot

# Where the output is no terminal (a job's log), a line about all of them at most so often; each one's end is told, too.
_LINE_EVERY_S = 30.0


@contextmanager
def shown_batch(*, quiet: bool = False) -> Iterator[BatchObserver]:
    """Show the progress of a batch while the block runs; on stderr."""
    from engine.batch import Relayed

    if quiet:
        yield Relayed()
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        transient=True,
    )
    with bars:
        yield Board(bars)


@dataclass
class _Tally:
    """How many of a batch ended how, and since when it runs."""

    total: int
    before: int
    counts: Counter[str]
    began_at: float

    @classmethod
    def of(cls, keys: Sequence[str], done: Sequence[BatchLine]) -> _Tally:
        return cls(len(keys) + len(done), len(done), Counter(line.status for line in done), time.monotonic())

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    def facts(self) -> str:
        """Return how many ended how, and the time taken and left."""
        taken, now = time.monotonic() - self.began_at, self.ended - self.before
        parts = [f"{count:,} {status.replace('_', ' ')}" for status, count in self.counts.items()]
        parts.append(shown_seconds(taken))
        if now and self.ended < self.total:
            parts.append(f"about {shown_seconds(taken / now * (self.total - self.ended))} left")
        return " · ".join(parts)


def _line_of(line: BatchLine) -> str:
    gain = "" if line.difference is None else f" ({line.difference:+.3f})"
    reason = line.reason.splitlines()[0] if line.reason else ""
    return f"{line.name}: {line.status}{gain}: {reason}"


class Board:
    """Bars in a terminal: those that run come and go below the lines of those that have ended; the last is for all."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._running: dict[str, TaskID] = {}
        self._tally = _Tally.of((), ())
        self._all = bars.add_task("all", total=None, facts="", visible=False)

    def begin(self, keys: Sequence[str], done: Sequence[BatchLine]) -> None:
        """Show the bar for all."""
        self._tally = _Tally.of(keys, done)
        self._show_all()

    def started(self, key: str) -> Progress:
        """Add a bar. What a run tells line by line stays off the screen; its report has it."""
        from engine.progress import Progress

        with self._lock:
            self._running[key] = bar = self._bars.add_task(escape(key), total=None, facts="reading rows")

        def show(snapshot: Snapshot) -> None:
            self._bars.update(
                bar,
                description=escape(f"{key}: {snapshot.stage}"),
                total=snapshot.total,
                completed=snapshot.done,
                facts=facts(snapshot),
            )

        return Progress(show=show)

    def ended(self, line: BatchLine) -> None:
        """Take the bar away, and leave a line."""
        with self._lock:
            bar = self._running.pop(line.name, None)
            self._tally.counts[line.status] += 1
            if bar is not None:
                self._bars.remove_task(bar)
            self._bars.console.print(f"  {_line_of(line)}", markup=False)
            self._show_all()

    def close(self) -> None:
        """Leave all as it is."""

    def _show_all(self) -> None:
        tally = self._tally
        self._bars.update(self._all, total=tally.total, completed=tally.ended, visible=True, facts=tally.facts())


class Lines:
    """Progress as lines, each with the optimization's name: ends, what runs tell, and now and then all that run."""

    def __init__(self, console: Console, *, every_s: float = _LINE_EVERY_S) -> None:
        self._console = console
        self._every_s = every_s
        self._lock = threading.Lock()
        self._running: dict[str, Snapshot] = {}
        self._tally = _Tally.of((), ())
        self._last = time.monotonic()
        self._closed = False

    def begin(self, keys: Sequence[str], done: Sequence[BatchLine]) -> None:
        """Tell what is to be done."""
        self._tally = _Tally.of(keys, done)
        before = f", {len(done):,} done before" if done else ""
        self._print(f"{len(keys):,} optimizations to run{before}")

    def started(self, key: str) -> Progress:
        """Return a Progress that tells the run's lines, such as its candidates' scores, with the key before them."""
        from engine.progress import Progress

        def show(snapshot: Snapshot) -> None:
            with self._lock:
                self._running[key] = snapshot
                now = time.monotonic()
                if now - self._last > self._every_s:
                    self._last = now
                    self._print(f"{self._tally.ended:,}/{self._tally.total:,} · {self._tally.facts()}")
                    for name, seen in tuple(self._running.items()):
                        self._print(f"  {name}: {seen.stage}: {seen.done}/{seen.total} · {facts(seen)}")

        return Progress(show=show, say=lambda line: None if self._closed else self._print(f"  {key}: {line}"))

    def ended(self, line: BatchLine) -> None:
        """Tell the verdict."""
        with self._lock:
            self._running.pop(line.name, None)
            self._tally.counts[line.status] += 1
            self._print(f"[{self._tally.ended:,}/{self._tally.total:,}] {_line_of(line)}")

    def close(self) -> None:
        """Tell no more lines of runs."""
        self._closed = True

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)
