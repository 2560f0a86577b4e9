"""A system's process, from both sides: what it starts with and reports, and that it leaves nothing behind.

Nothing but the standard library is imported here, because every system's environment runs this.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent


def environ() -> dict[str, str]:
    """Return the environment that a process is started with: this checkout, and no settings of another Spark."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK")} | {
        "PYTHONPATH": str(ROOT),
    }


def versions_line(packages: Sequence[str]) -> str:
    """Return the line that reports what is installed here."""
    return json.dumps({"versions": {name: _version(name) for name in packages}}) + "\n"


def end() -> NoReturn:
    """End this process, and not by sys.exit: threads and JVMs that linger must not count against the next system."""
    sys.stdout.flush()
    os._exit(0)


def processes_of(session: int) -> dict[int, tuple[int, str]]:
    """Return the live processes of a session: by pid, the parent's pid and the command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The command's name is in brackets and may hold blanks; state, ppid, pgrp and session follow it.
            state, parent, _, owner = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if int(owner) == session and state != "Z":
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(entry.name)] = int(parent), command
    return found


def end_session(session: int) -> None:
    """End every process that a system started."""
    for _ in range(50):
        left = processes_of(session)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
