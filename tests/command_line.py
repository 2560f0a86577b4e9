"""The command as a person starts it: a process of its own, with its exit status and its messages."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from jobs.cli import main; main()"]


def run(*words, cwd):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *map(str, words)], cwd=cwd, env=environ, capture_output=True, text=True, timeout=240, check=False
    )


def run_here(*words, cwd, monkeypatch, capsys):
    """Run the command in this process, on the session that is there: what it prints and its status, seconds sooner."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["promptmill", *map(str, words)])
    kept = signal.getsignal(signal.SIGTERM)
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, kept)
    said = capsys.readouterr()
    return subprocess.CompletedProcess(words, ended.value.code, said.out, said.err)
