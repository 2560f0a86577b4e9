"""What a system's process does: one search after another, each in its world, telling what it would return when.

Each module under ``runners`` hands :func:`run` a function that searches once. The process is started with one argument,
a :class:`Job` as JSON, and speaks through the file descriptor named there. Nothing but the standard library is imported
here, because every system's environment runs this.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.plain_client import PlainClient
from benchmarks.search.problem import of_file, of_world
from benchmarks.system_process import end, versions_line


@dataclass(frozen=True)
class Job:
    """Searches to be done: one in each of the worlds ``numbers``, ``at_once`` at a time.

    ``budget`` is in metric calls; rows 0 … ``train`` - 1 are the training rows, the next ``val`` the val rows.
    """

    root: str
    family: str
    numbers: tuple[int, ...]
    budget: int
    train: int
    val: int
    median_ms: float
    folder: str
    report_fd: int
    at_once: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


class Task:
    """One search: its endpoint, its rows, and the book of what it would return when."""

    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.number = number
        rows = job.settings.get("rows")
        self.problem = of_file(Path(rows), number, job.train, job.val) if rows else of_world(job.family, number)
        self._place = f"{job.root}/{job.family}/{number}/{job.median_ms:g}/{uuid.uuid4().hex}"
        self.base_url = f"{self._place}/v1"
        self.budget = job.budget
        self.train = tuple(range(job.train))
        self.val = tuple(range(job.train, job.train + job.val))
        self.settings = job.settings
        self.folder = Path(job.folder) / f"{job.family}-{number}-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(parents=True)
        self.events: list[tuple[int, float, str]] = []
        self._started = time.perf_counter()

    def begin(self) -> None:
        """Start the clock: what comes before is set-up."""
        self._started = time.perf_counter()

    def counters(self) -> dict[str, Any]:
        """Read what the endpoint was asked so far."""
        with urllib.request.urlopen(f"{self._place}/counters", timeout=60) as answer:  # noqa: S310 - our own endpoint
            found: dict[str, Any] = json.load(answer)
            return found

    def returns(self, text: str, *, calls: int | None = None, seconds: float | None = None) -> None:
        """Note the prompt that the system would return if it were stopped now, or was at the time given."""
        if self.events and self.events[-1][2] == text:
            return
        seconds = time.perf_counter() - self._started if seconds is None else seconds
        self.events.append((self.counters()["metric_calls"] if calls is None else calls, seconds, text))

    def result(self, text: str) -> dict[str, Any]:
        """Return the line to report, given what the system returned in the end."""
        seconds = time.perf_counter() - self._started
        counters = self.counters()
        first = self.problem.seed_template
        quality = {shown: self._quality(shown) for shown in {first, text, *(shown for _, _, shown in self.events)}}
        return {
            "number": self.number,
            "first": quality[first],
            "events": [(calls, at_s, quality[shown], shown) for calls, at_s, shown in self.events],
            "seconds": seconds,
            "counters": counters,
            "text": text,
            "quality": quality[text],
        }

    def _quality(self, text: str) -> float:
        """A prompt's true quality; where it is not known, measured on the holdout after all is over."""
        if self.problem.quality is not None:
            return self.problem.quality(text)
        asker = Asker(self.base_url)
        place = "{{note}}"
        total = 0.0
        for row in self.problem.holdout:
            shown = self.problem.text(row)
            asked = [("user", text.replace(place, shown))] if place in text else [("system", text), ("user", shown)]
            total += asker.score(self, row, asker.ask("target", *asked))[0]
        return total / len(self.problem.holdout)


class Asker(PlainClient):
    """Asks a task's models, and scores what they answer."""

    def score(self, task: Task, row: int, output: str) -> tuple[float, str]:
        """Return an output's score and feedback: exact match, or the judge's verdict where the problem has one.

        On real tasks the match is promptmill's for all systems, which forgives case and punctuation.
        """
        expected = task.problem.expected(row)
        if task.problem.quality is None:
            from udfs.scorers import ExactMatch, Subject

            found = ExactMatch().score(Subject({}, output, {"expected_response": expected}))
            return found.value, found.feedback
        if not task.problem.judged:
            right = output.strip() == expected
            return float(right), "right" if right else f"expected {expected}, got {output}"
        asked = (
            f"<expected_response-0>\n{expected}\n</expected_response-0>\n\n<output-0>\n{output}\n</output-0>\n\nSame?"
        )
        verdict = json.loads(self.ask("judge", ("user", asked)))
        return float(verdict["verdict"] == "same"), f"{verdict['verdict']}: {verdict['rationale']}"


def run(search: Callable[[Task], str], packages: Sequence[str]) -> None:
    """Do a job; ``search`` returns the prompt that the system settled on. ``packages``: report their versions."""
    job = Job(**json.loads(sys.argv[1]))
    with os.fdopen(job.report_fd, "w", buffering=1) as report:
        report.write(versions_line(packages))

        def one(number: int) -> None:
            task = Task(job, number)
            try:
                line = task.result(search(task))
            except Exception as error:  # the other searches of the job are still worth having
                traceback.print_exc()
                line = {"number": number, "error": f"{type(error).__name__}: {error}"[:500]}
            report.write(json.dumps(line) + "\n")

        with ThreadPoolExecutor(job.at_once) as pool:
            list(pool.map(one, job.numbers))
    end()
