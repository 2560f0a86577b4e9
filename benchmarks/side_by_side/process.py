"""Processes of a measurement: the endpoint's, and one for each run of a system, all of which end with it."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.endpoint_process import endpoint_process
from benchmarks.side_by_side.endpoint import Behaviour
from benchmarks.side_by_side.runner import Work
from benchmarks.system_process import end_session, environ, processes_of

# How often the endpoint is asked how far a run is, where something is to happen half way.
_LOOK_EVERY_S = 0.05
# A Spark session with its first Python workers takes 10 s on a quiet machine, and minutes on a busy one.
_START_UP_TIMEOUT_S = 240.0


class EndpointProcess:
    """The endpoint as long as the ``with`` block runs."""

    def __init__(self, python: Path) -> None:
        self._process = endpoint_process("benchmarks.side_by_side.endpoint", python=python)

    def __enter__(self) -> Self:
        port, self.loop = self._process.__enter__()
        self._root = f"http://127.0.0.1:{port}"
        self.base_url = f"{self._root}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.__exit__(*error)  # type: ignore[arg-type]

    def reset(self, behaviour: Behaviour) -> None:
        """Set the counters to zero, and how the endpoint behaves from now on."""
        self._ask("/admin/reset", json.dumps(asdict(behaviour)).encode())

    def counters(self) -> dict[str, Any]:
        """Read what happened since."""
        found: dict[str, Any] = self._ask("/admin/counters")
        return found

    def _ask(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self._root}{path}", data, timeout=30) as answer:  # noqa: S310 - our own, on 127.0.0.1
            return json.load(answer)


@dataclass
class Run:
    """How one run of a system went. ``error`` says why there is no result; times are in seconds."""

    rows: int
    start_up_s: float = 0.0
    seconds: float = 0.0
    total: float = 0.0
    scored: int = 0
    restarts: int = 0
    killed: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def rows_per_s(self) -> float:
        """Rows that got a score, a second."""
        return self.scored / self.seconds if self.seconds else 0.0


class KilledError(Exception):
    """The run's processes were ended on purpose."""


# Called with the run's session id and how many calls were answered; returns what it killed, if it did.
Interruption = Callable[[int, int], str]


@dataclass(frozen=True)
class Program:
    """What to start: a module under ``runners`` on an interpreter."""

    python: Path
    module: str


def run(
    program: Program,
    endpoint: EndpointProcess,
    behaviour: Behaviour,
    work: Work,
    *,
    timeout_s: float,
    interruption: Interruption | None = None,
) -> Run:
    """Run a system once, and once more if the interruption ended it.

    ``timeout_s`` bounds each of the two, beside their start-up.
    """
    shutil.rmtree(work.folder, ignore_errors=True)
    Path(work.folder).mkdir(parents=True)
    found = Run(rows=work.rows)
    endpoint.reset(Behaviour())  # it warms up on an endpoint without limits
    for attempt in range(2):
        try:
            _once(program, endpoint, behaviour if attempt == 0 else None, work, found, timeout_s, interruption)
        except KilledError:
            found.restarts += 1
            interruption = None
            continue
        except RunFailedError as error:
            found.error = str(error)
        break
    found.counters = endpoint.counters()
    return found


class RunFailedError(Exception):
    """A run ended without a result; the message says how."""


def _once(
    program: Program,
    endpoint: EndpointProcess,
    behaviour: Behaviour | None,
    work: Work,
    found: Run,
    timeout_s: float,
    interruption: Interruption | None,
) -> None:
    log_path = Path(work.folder) / f"log-{found.restarts}.txt"
    begun = time.monotonic()
    reading, writing = os.pipe()
    described = json.dumps(asdict(work) | {"report_fd": writing})
    with log_path.open("w") as log, os.fdopen(reading) as report:
        process = subprocess.Popen(
            [str(program.python), "-m", f"benchmarks.side_by_side.runners.{program.module}", described],
            cwd=work.folder,
            env=environ(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            text=True,
            start_new_session=True,  # so that its JVMs and workers can be found, and ended with it
        )
        os.close(writing)
        try:
            ready = _line(report, _START_UP_TIMEOUT_S, log_path, "its start-up was")
            found.versions = ready["versions"]
            found.start_up_s += time.monotonic() - begun
            if behaviour is not None:
                endpoint.reset(behaviour)
            assert process.stdin is not None  # noqa: S101 - asked for above
            started = time.monotonic()
            process.stdin.write("go\n")
            process.stdin.flush()
            try:
                result = _line(
                    report, timeout_s, log_path, "it was", _watch(process.pid, endpoint, found, interruption)
                )
            except (KilledError, RunFailedError):
                found.seconds += time.monotonic() - started
                raise
            found.seconds += result["seconds"]
            found.total, found.scored = result["total"], result["scored"]
        finally:
            process.stdin.close() if process.stdin else None
            end_session(process.pid)
            process.wait()


def _watch(
    session: int, endpoint: EndpointProcess, found: Run, interruption: Interruption | None
) -> Callable[[], None] | None:
    if interruption is None:
        return None

    def look() -> None:
        if found.killed:
            return
        found.killed = interruption(session, endpoint.counters()["answered"])
        if found.killed and not processes_of(session):
            raise KilledError

    return look


def _line(
    report: Any, timeout_s: float, log: Path, subject: str, look: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Wait for the next line of a run's report."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if select.select([report], [], [], _LOOK_EVERY_S if look else 1.0)[0]:
            if line := report.readline():
                found: dict[str, Any] = json.loads(line)
                return found
            raise RunFailedError(_last_words(log))
        if look:
            look()
    raise RunFailedError(f"{subject} not done after {timeout_s:g} s")


def _last_words(log: Path) -> str:
    """Return what a run said last that looks like a reason."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    reasons = [line for line in lines if "Error" in line or "Exception" in line]
    return (reasons or lines or ["it ended without a word"])[-1][:300]


def python_workers(session: int) -> list[int]:
    """Return the Spark Python workers of a run: children of a daemon that have its command line."""
    found = processes_of(session)
    return [
        pid
        for pid, (parent, command) in found.items()
        if "pyspark.daemon" in command and "pyspark.daemon" in found.get(parent, (0, ""))[1]
    ]
