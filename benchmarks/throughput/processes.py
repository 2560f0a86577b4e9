"""CPU time and memory of the processes that take part, read from /proc (Linux)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
DRIVER, JVM, WORKERS, ENDPOINT = "driver (Python)", "driver (JVM)", "Python workers", "endpoint"


@dataclass(frozen=True)
class Sample:
    """CPU seconds so far and resident bytes, by role."""

    at_s: float
    cpu_s: Mapping[str, float]
    rss: Mapping[str, int]


def sample(endpoint_pid: int) -> Sample:
    """Read the processes as they are now: this one, its JVM, the JVM's Python workers, and the endpoint."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                head, _, tail = (folder / "stat").read_text().rpartition(")")
            except OSError:
                continue  # it ended meanwhile
            parents[int(folder.name)] = int(tail.split()[1])
            names[int(folder.name)] = head.partition("(")[2]
    here = os.getpid()
    cpu: dict[str, float] = dict.fromkeys((DRIVER, JVM, WORKERS, ENDPOINT), 0.0)
    rss: dict[str, int] = dict.fromkeys((DRIVER, JVM, WORKERS, ENDPOINT), 0)
    for pid in parents:
        role = _role(pid, parents, names, here, endpoint_pid)
        if role is None:
            continue
        try:
            fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
            # Proportional set size: workers are forked, and their shared pages would count several times.
            rolled = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        # utime and stime; of the fork server also those of the workers that ended (cutime, cstime).
        cpu[role] += sum(int(fields[at]) for at in (11, 12, *((13, 14) if role == WORKERS else ()))) * _TICK_S
        rss[role] += next(int(line.split()[1]) for line in rolled.splitlines() if line.startswith("Pss:")) * 1024
    return Sample(time.monotonic(), cpu, rss)


def _role(pid: int, parents: Mapping[int, int], names: Mapping[int, str], here: int, endpoint_pid: int) -> str | None:
    line = [pid]
    while line[-1] in parents and len(line) < 50:
        line.append(parents[line[-1]])
    if endpoint_pid in line:
        return ENDPOINT
    if pid == here:
        return DRIVER
    if here not in line:
        return None
    if names[pid].startswith("java"):
        return JVM
    return WORKERS if any(names.get(ancestor, "").startswith("java") for ancestor in line[1:]) else None


@dataclass
class Watch:
    """Samples memory every second while the block runs, and CPU from its start to its end."""

    endpoint_pid: int
    every_s: float = 1.0
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self.samples.append(sample(self.endpoint_pid))
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.samples.append(sample(self.endpoint_pid))

    def _look(self) -> None:
        while not self._stop.wait(self.every_s):
            self.samples.append(sample(self.endpoint_pid))

    def cpu_s(self, role: str) -> float:
        """CPU seconds of a role over the block."""
        return self.samples[-1].cpu_s[role] - self.samples[0].cpu_s[role]

    def peak_mb(self, role: str) -> float:
        """The most resident megabytes of a role during the block."""
        return max(each.rss[role] for each in self.samples) / 1e6
