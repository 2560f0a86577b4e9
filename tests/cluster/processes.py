"""The processes of a Spark application, found by parentage and command line, so that a test kills the one it means."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path


def command_line(pid: int) -> str:
    """Return a process's words, an empty text once it has gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        # The name before the last bracket may hold anything, so what comes after it is read.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def descendants(pid: int) -> list[int]:
    """Return all processes below ``pid``, children before their own children."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            below.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found = list(below.get(pid, ()))
    for one in found:
        found.extend(below.get(one, ()))  # the list grows while it is walked
    return found


def executors(app_id: str) -> list[int]:
    """Return the executor JVMs of an application."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    words = {pid: command_line(pid) for pid in pids}
    return [pid for pid, text in words.items() if "CoarseGrainedExecutorBackend" in text and app_id in text]


def python_workers(executor: int) -> list[int]:
    """Return the Python workers of an executor: the children of its ``pyspark.daemon``."""
    daemons = [pid for pid in descendants(executor) if "pyspark.daemon" in command_line(pid)]
    return [pid for pid in daemons if parent(pid) in daemons]


def worker_host(executor: int) -> int:
    """Return the standalone worker that stands for the host an executor runs on."""
    worker = parent(executor)
    if "org.apache.spark.deploy.worker.Worker" not in command_line(worker):
        raise AssertionError(f"process {worker} above executor {executor} is no worker: {command_line(worker)}")
    return worker


def kill(pids: Iterable[int]) -> list[int]:
    """Send SIGKILL to all at once; return those that were there."""
    hit = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hit.append(pid)
    return hit


def kill_tree(pid: int) -> list[int]:
    """Kill a process and all below it."""
    return kill([pid, *descendants(pid)])
