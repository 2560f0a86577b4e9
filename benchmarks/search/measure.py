"""Runs systems in worlds: one endpoint, one process a system, a line for each search as soon as it is done."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.endpoint_process import endpoint_process
from benchmarks.search.runner import Job
from benchmarks.search.systems import System
from benchmarks.search.world import FAMILIES
from benchmarks.side_by_side.environment import NotInstalledError, python_of
from benchmarks.system_process import end_session, environ

Line = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to measure. ``median_ms`` 0: how good for so many calls; above: how long it takes, one search at a time.

    ``upstream`` are address and name of the real models that stand for ``target`` and ``reflection`` in families that
    are no worlds.
    """

    systems: Sequence[System]
    families: Sequence[str]
    numbers: Sequence[int]
    budget: int
    train: int
    val: int
    median_ms: float
    cache: Path
    timeout_s: float
    settings: dict[str, Any]
    upstream: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether time is what is measured."""
        return self.median_ms > 0


def measure(plan: Plan) -> Iterator[Line]:
    """Run everything, one system after another, and give each line as soon as it is known."""
    with endpoint(plan.upstream) as root:
        for system in plan.systems:
            try:
                python = python_of(system.module, system.requirements, plan.cache / "environments")
            except NotInstalledError as error:
                print(f"{system.name}: can't be installed here: {error}", flush=True)
                continue
            for family in plan.families:
                yield from _searches(plan, system, python, family, root)


def _searches(plan: Plan, system: System, python: Path, family: str, root: str) -> Iterator[Line]:
    settings = {**system.settings, **(system.wall if plan.timed else {}), **plan.settings}
    if family not in FAMILIES:
        settings["rows"] = str(tasks_folder(plan.cache) / f"{family}.json")
    reading, writing = os.pipe()
    folder = plan.cache / "work" / f"search-{system.module}-{time.time_ns()}"
    folder.mkdir(parents=True)
    job = Job(
        root,
        family,
        tuple(plan.numbers),
        plan.budget,
        plan.train,
        plan.val,
        plan.median_ms,
        str(folder),
        writing,
        1 if plan.timed or plan.upstream else system.at_once,
        settings,
    )
    log_path = folder / "log.txt"
    print(f"{system.name}, {family}: {len(plan.numbers)} searches, log in {log_path}", flush=True)
    with log_path.open("w") as log, os.fdopen(reading, "rb", buffering=0) as report:
        process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.search.runners.{system.module}", json.dumps(asdict(job))],
            cwd=folder,
            env=_environ(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            start_new_session=True,  # so that its JVM and workers can be found, and ended with it
        )
        os.close(writing)
        versions: dict[str, str] = {}
        try:
            for told in _told(report, plan.timeout_s):
                if "versions" in told:
                    versions = told["versions"]
                    continue
                line = {
                    "system": system.name,
                    "family": family,
                    "budget": plan.budget,
                    "train": plan.train,
                    "val": plan.val,
                    "median_ms": plan.median_ms,
                    "settings": settings,
                    "versions": versions,
                    "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "load_average": os.getloadavg()[0],
                    **told,
                }
                print(f"  {family} {told['number']}: {_shown(told)}", flush=True)
                yield line
        finally:
            end_session(process.pid)
            process.wait()


def _told(report: Any, timeout_s: float) -> Iterator[Line]:
    """Give what a process reports until it ends; ``timeout_s`` bounds the wait for each line."""
    while True:
        # Nothing is buffered, because select sees only what no earlier read has taken.
        if not select.select([report], [], [], timeout_s)[0]:
            print(f"  given up: it has said nothing for {timeout_s:g} s", flush=True)
            return
        line = report.readline()
        if not line:
            return
        yield json.loads(line)


def _shown(told: Line) -> str:
    if "error" in told:
        return f"FAILED: {told['error']}"
    calls = told["counters"]["metric_calls"]
    return f"quality {told['quality']:.3f}, {calls} calls, {told['seconds']:.1f} s"


def tasks_folder(cache: Path) -> Path:
    """Return where the rows of real tasks are kept."""
    return cache / "data"


@contextmanager
def endpoint(upstream: Mapping[str, tuple[str, str]] | None = None) -> Iterator[str]:
    """Serve the worlds while the block runs, and real models behind the same address; give the address."""
    with endpoint_process("benchmarks.search.endpoint", json.dumps(upstream or {})) as (port,):
        yield f"http://127.0.0.1:{port}"


def _environ() -> dict[str, str]:
    return environ() | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # Looking up prices of models that nobody knows would wait for a network.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
