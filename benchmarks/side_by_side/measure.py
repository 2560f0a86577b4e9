"""The three measurements: as fast as it goes, under a quota, and with a loss half way."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.endpoint import Behaviour
from benchmarks.side_by_side.environment import NotInstalledError, python_of
from benchmarks.side_by_side.process import (
    EndpointProcess,
    Interruption,
    Program,
    Run,
    python_workers,
    run,
)
from benchmarks.side_by_side.runner import Work
from benchmarks.side_by_side.systems import BARE, QUOTA, Setting, System
from benchmarks.system_process import end_session, processes_of

TABLES = ("speed", "quota", "loss")
# A quick run is for trying things out: a tenth of the rows, but enough for a worker to be in the middle of something.
_QUICK_SHARE, _QUICK_LEAST = 0.1, 40


@dataclass(frozen=True)
class Plan:
    """What to measure: systems, tables, where environments and working folders are, and when to stop."""

    systems: Sequence[System]
    tables: Sequence[str]
    cache: Path
    quick: bool
    deadline: float
    timeout_s: float


@dataclass(frozen=True)
class Measured:
    """One line: what was run, and how it went."""

    table: str
    system: str
    setting: str
    default: bool
    run: Run
    expected_mean: float
    measured_at: str
    load_average: float
    note: str = ""
    loss: str = ""

    @property
    def right(self) -> bool:
        """Whether every row was scored, and scored right."""
        found = self.run
        return found.scored == found.rows and abs(found.total / found.rows - self.expected_mean) < 1e-9

    def as_data(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self) | {"right": self.right, "rows_per_s": self.run.rows_per_s}


def measure(plan: Plan) -> Iterator[Measured]:
    """Run everything, one after another, and give each line as soon as it is known."""
    try:
        endpoint_python = _python(plan, BARE)
    except NotInstalledError:
        endpoint_python = Path(sys.executable)
    with EndpointProcess(endpoint_python) as endpoint:
        for system in plan.systems:
            try:
                python = _python(plan, system)
            except NotInstalledError as error:
                for table, setting, what in _lines(system, plan.tables):
                    yield _line(table, system, setting, Run(rows=0, error=f"can't be installed here: {error}"), what)
                continue
            yield from _measure_system(plan, endpoint, system, Program(python, system.module))


def install(plan: Plan) -> None:
    """Make the environments, and say what can't be installed."""
    for system in plan.systems:
        try:
            print(f"{system.name}: {_python(plan, system)}")
        except NotInstalledError as error:
            print(f"{system.name}: can't be installed here: {error}")


def _python(plan: Plan, system: System) -> Path:
    return python_of(_folder(system), system.requirements, plan.cache / "environments", without=system.without)


def _measure_system(plan: Plan, endpoint: EndpointProcess, system: System, program: Program) -> Iterator[Measured]:
    for table, given, what in _lines(system, plan.tables):
        setting = given
        if plan.quick:
            setting = replace(given, rows=max(_QUICK_LEAST, int(given.rows * _QUICK_SHARE) // 10 * 10))
        if time.monotonic() > plan.deadline:
            yield _line(table, system, setting, Run(rows=setting.rows, error="not run: the time was up"), what)
            continue
        print(f"  {table}: {system.name}: {setting.label} {what} ...", end=" ", flush=True)
        work = Work(
            endpoint.base_url,
            setting.rows,
            str(plan.cache / "work" / _folder(system)),
            report_fd=-1,
            warm_up_rows=system.warm_up_rows,
            settings=dict(setting.settings),
        )
        behaviour = Behaviour(requests_per_s=QUOTA) if table == "quota" else Behaviour()
        interruption = _INTERRUPTIONS[what](setting.rows // 2) if what else None
        load = os.getloadavg()[0]
        found = run(program, endpoint, behaviour, work, timeout_s=plan.timeout_s, interruption=interruption)
        line = _line(table, system, setting, found, what, load)
        print(found.error or f"{found.rows_per_s:.1f} rows/s", "" if found.error or line.right else "NOT RIGHT")
        yield line


def _lines(system: System, tables: Sequence[str]) -> Iterator[tuple[str, Setting, str]]:
    if "speed" in tables:
        yield from (("speed", setting, "") for setting in system.speed)
    if "quota" in tables:
        yield from (("quota", setting, "") for setting in system.quota)
    if "loss" in tables:
        yield from (("loss", loss.setting, loss.what) for loss in system.loss)


def _line(table: str, system: System, setting: Setting, found: Run, what: str, load: float = 0.0) -> Measured:
    return Measured(
        table=table,
        system=system.name,
        setting=setting.label,
        default=setting.default,
        run=found,
        expected_mean=rows.mean_score(range(setting.rows)),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average=load,
        note=system.note,
        loss=what,
    )


def _folder(system: System) -> str:
    return "".join(c if c.isalnum() else "-" for c in system.name.lower())


def _kill_worker(half: int) -> Interruption:
    def interrupt(session: int, answered: int) -> str:
        workers = python_workers(session) if answered >= half else []
        if not workers:
            return ""
        os.kill(max(workers, key=_cpu_ticks), signal.SIGKILL)
        return f"a Python worker after {answered} answers"

    return interrupt


def _kill_process(half: int) -> Interruption:
    def interrupt(session: int, answered: int) -> str:
        if answered < half or not processes_of(session):
            return ""
        end_session(session)
        return f"everything after {answered} answers"

    return interrupt


def _cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process: a worker that waits for its next task has used least."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


_INTERRUPTIONS: dict[str, Callable[[int], Interruption]] = {"worker": _kill_worker, "process": _kill_process}
