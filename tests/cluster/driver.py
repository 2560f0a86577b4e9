"""A driver as users start it: the ``promptmill`` command in a process of its own, on a cluster, to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import processes
from spark_clusters import ROOT, _spark_home

_COMMAND = "from jobs.cli import main; main()"


class Driver:
    """One running command; its output goes into files beside ``log``."""

    def __init__(
        self, words: Sequence[str], log: Path, environ: Mapping[str, str], *, under: Sequence[str] = ()
    ) -> None:
        self.log = log
        with log.with_suffix(".out").open("w") as out, log.with_suffix(".err").open("w") as err:
            self._process = subprocess.Popen(
                [*under, sys.executable, "-c", _COMMAND, *words],
                cwd=ROOT,
                env={**os.environ, **environ},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float = 400) -> int:
        """Return the exit status."""
        return self._process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Signal the command's own process, as Ctrl-C of ``kill`` would; Ctrl-C at a terminal reaches the group."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the driver: the command's process and its JVM at once. Executors have to find out by themselves."""
        below = processes.descendants(self.pid)
        kept = {
            pid for executor in below if _is_executor(executor) for pid in (executor, *processes.descendants(executor))
        }
        processes.kill([self.pid, *(pid for pid in below if pid not in kept)])
        self._process.wait()

    def executors(self) -> list[int]:
        return [pid for pid in processes.descendants(self.pid) if _is_executor(pid)]

    @property
    def stdout(self) -> str:
        return self.log.with_suffix(".out").read_text()

    @property
    def stderr(self) -> str:
        return self.log.with_suffix(".err").read_text()

    def end(self) -> None:
        """Leave nothing of it."""
        below = processes.descendants(self.pid) if self.running else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        processes.kill(below)
        self._process.wait()


def _is_executor(pid: int) -> bool:
    return "CoarseGrainedExecutorBackend" in processes.command_line(pid)


class Drivers:
    """Starts commands, and ends what is left of them."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder, self._environ = folder, environ
        self.started: list[Driver] = []

    def start(self, *words: str, environ: Mapping[str, str] | None = None) -> Driver:
        """Start ``promptmill`` with these words."""
        return self._start(words, environ or {}, ())

    def start_under(self, under: Sequence[str], *words: str) -> Driver:
        """Start a program that is given the whole command as its arguments."""
        return self._start(words, {}, under)

    def _start(self, words: Sequence[str], environ: Mapping[str, str], under: Sequence[str]) -> Driver:
        log = self._folder / f"driver-{len(self.started)}"
        self.started.append(Driver(words, log, {**self._environ, **environ}, under=under))
        return self.started[-1]


@contextlib.contextmanager
def drivers(folder: Path) -> Iterator[Drivers]:
    """Give a place to start commands on ``local-cluster`` from; afterwards nothing of them runs."""
    with _spark_home() as home:
        made = Drivers(folder, {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(ROOT)})
        try:
            yield made
        finally:
            for driver in made.started:
                driver.end()
            orphans_gone(home)


def orphans_gone(home: Path, timeout_s: float = 30) -> None:
    """Wait until the executors of killed drivers have noticed; kill those that have not."""
    deadline = time.monotonic() + timeout_s
    while left := _of_home(home):
        if time.monotonic() > deadline:
            processes.kill(left)
            return
        time.sleep(0.2)


def _of_home(home: Path) -> list[int]:
    """Executors whose classes come from this SPARK_HOME, which no other test has."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if str(home) in processes.command_line(pid)]


CLUSTER_CONF = {
    "spark.driver.memory": "640m",
    "spark.executor.memory": "512m",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def cluster_section(conf: Mapping[str, str] = MappingProxyType({}), master: str = "local-cluster[2,1,512]") -> str:
    """Return the ``spark`` section of a configuration for a small cluster."""
    return json.dumps({"master": master, "conf": {**CLUSTER_CONF, **conf}})
