"""What a system's process does: start up, warm up, say so, wait for the word, evaluate, say how it went.

Each module under ``runners`` hands :func:`run` its :class:`System`. The process is started with one argument, a
:class:`Work` as JSON; it speaks through the file descriptor named there, because systems write to their output at will.
Nothing but the standard library is imported here, because every system's environment runs this.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.system_process import end, versions_line

# Far above every measured row, so that no cache knows a measured row from warming up.
_WARM_UP_FROM = 90_000_000


@dataclass(frozen=True)
class Work:
    """One run: rows ``0 … rows - 1``; ``folder`` is kept when a run that was killed is started again."""

    base_url: str
    rows: int
    folder: str
    report_fd: int
    warm_up_rows: int = 32
    settings: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return a path in the run's folder."""
        return Path(self.folder) / name


class Scored(tuple[float, int]):
    """The sum of the scores, and how many rows have one."""

    __slots__ = ()

    @classmethod
    def of(cls, scores: Sequence[float | None]) -> Scored:
        """Sum up scores; None is a row that has none."""
        known = [score for score in scores if score is not None]
        return cls((sum(known), len(known)))


class System(Protocol):
    """One system on one endpoint."""

    def load(self, rows: range) -> Any:
        """Bring rows into the form that the system takes; not timed."""
        ...

    def evaluate(self, data: Any) -> Scored:
        """Predict and score; timed."""
        ...


def run(start: Callable[[Work], System], packages: Sequence[str]) -> None:
    """Do one run, as the module's docstring says; ``packages`` are what to report the versions of."""
    work = Work(**json.loads(sys.argv[1]))
    # Unbuffered lines on a descriptor of its own.
    with os.fdopen(work.report_fd, "w", buffering=1) as report:
        system = start(work)
        if work.warm_up_rows:
            system.evaluate(system.load(range(_WARM_UP_FROM, _WARM_UP_FROM + work.warm_up_rows)))
        data = system.load(range(work.rows))
        report.write(versions_line(packages))
        if not sys.stdin.readline():
            os._exit(1)  # whoever wanted to measure is gone
        started = time.perf_counter()
        total, scored = system.evaluate(data)
        seconds = time.perf_counter() - started
        report.write(json.dumps({"seconds": seconds, "total": total, "scored": scored}) + "\n")
    end()
