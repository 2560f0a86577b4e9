"""Each system's own environment, made once and kept: peers want different versions of the same packages."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class NotInstalledError(Exception):
    """A system can't be installed here; the message is the end of what pip said."""


def python_of(
    name: str, requirements: Sequence[str], cache: Path, *, without: Sequence[str] = (), timeout_s: float = 600
) -> Path:
    """Return the interpreter of an environment that has ``requirements`` and lacks ``without``; make it if need be.

    Raises:
        NotInstalledError: pip could not; the half-made environment is not taken for a whole one later.
    """
    if not requirements:
        return Path(sys.executable)
    wanted = hashlib.sha256(repr((sys.version, *requirements, "without", *without)).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{wanted}"
    python, done = folder / "bin" / "python", folder / "complete"
    if done.exists():
        return python
    print(f"  making an environment for {name}: {', '.join(requirements)}", flush=True)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, "install", *requirements],
        *([[*pip, "uninstall", "--yes", *without]] if without else []),
    ]
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.CalledProcessError as error:
            last = [line for line in error.stderr.splitlines() if line.strip()][-3:]
            raise NotInstalledError(" ".join(last)) from error
        except subprocess.TimeoutExpired as error:
            raise NotInstalledError(f"pip had not finished after {timeout_s:g} s") from error
    done.touch()
    return python
