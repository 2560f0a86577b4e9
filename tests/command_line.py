"""The command as a person starts it: a process of its own, with its exit status and its messages."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from jobs.cli import main; main()"]


def run(*words, cwd):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *map(str, words)], cwd=cwd, env=environ, capture_output=True, text=True, timeout=240, check=False
    )
