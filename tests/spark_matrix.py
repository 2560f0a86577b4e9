"""Runs tests on every pair of Python and Spark that is promised, each in its own environment: ``make test-matrix``.

An environment is made once and made anew when setup.py changes. A Python that PATH does not have is skipped, and said.
Only the standard library is used, because this starts before there is an environment.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".matrix"

# The oldest and the newest of what setup.py admits, and what Databricks runtimes have in between.
PAIRS = (("3.11", "3.5"), ("3.11", "4.0"), ("3.11", "4.3"), ("3.12", "4.3"))

# What a Spark release could break: sessions, shipping, SQL functions, Arrow, tasks' lives. About four minutes a pair.
SUBSET = (
    "tests/engine/test_session.py",
    "tests/engine/test_java.py",
    "tests/engine/test_rows.py",
    "tests/engine/test_split.py",
    "tests/engine/test_evaluate.py",
    "tests/engine/test_ledger_reuse.py",
    "tests/engine/test_migration.py",
    "tests/engine/test_shared_storage.py",
    "tests/engine/verdict/test_holdout.py",
    "tests/jobs/test_gate_command.py",
    "tests/udfs/test_evaluation_udf.py",
)
_OTHERS = "not live and not slow_cluster"


def main() -> int:
    """Run what was asked for; return 1 where a pair failed or none could run."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--full", action="store_true", help="run all that `make test` runs")
    options.add_argument("only", nargs="*", help="pairs to run, such as 3.12-4.3, or all pairs of a Spark: 3.5")
    chosen = options.parse_args()
    ended: dict[str, str] = {}
    for python, spark in PAIRS:
        name = f"{python}-{spark}"
        if chosen.only and name not in chosen.only and spark not in chosen.only:
            continue
        interpreter = _interpreter(python)
        if interpreter is None:
            ended[name] = f"skipped: PATH has no python{python}"
            continue
        print(f"Python {python}, Spark {spark}", flush=True)
        began = time.monotonic()
        passed = _run(_environment(interpreter, python, spark), full=chosen.full)
        ended[name] = f"{'passed' if passed else 'FAILED'}, {time.monotonic() - began:.0f} s"
    for name, how in ended.items():
        print(f"{name:10} {how}")
    return 0 if any(how.startswith("passed") for how in ended.values()) and "FAILED" not in str(ended) else 1


def _interpreter(version: str) -> str | None:
    found = shutil.which(f"python{version}")
    if found is None:
        return None
    # Version managers put names on PATH that stand for nothing, so it is asked.
    ask = [found, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    said = subprocess.run(ask, capture_output=True, text=True, check=False)
    return found if said.stdout.strip() == version else None


def _environment(interpreter: str, python: str, spark: str) -> Path:
    """Make the pair's environment where there is none of this setup.py; return its interpreter."""
    place = FOLDER / f"python{python}-spark{spark}"
    made, stamp = place / "bin" / "python", place / "made-of"
    wanted = hashlib.sha256((ROOT / "setup.py").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"  setting up {place.relative_to(ROOT)} (a few minutes, once)", flush=True)
        if not made.exists():
            subprocess.run([interpreter, "-m", "venv", str(place)], check=True)
        install = [str(made), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-e", f"{ROOT}[dev]", f"pyspark[connect]=={spark}.*"], check=True)
        stamp.write_text(wanted)
    return made


def _run(python: Path, *, full: bool) -> bool:
    what = ["-m", _OTHERS] if full else ["-m", f"{_OTHERS} and not cluster", *SUBSET]
    # The Sparks that tests start take the Python and the Spark from here, not from what the caller had set.
    environ = {k: v for k, v in os.environ.items() if k not in {"SPARK_HOME", "PYSPARK_PYTHON", "PYTHONPATH"}}
    return (
        subprocess.run([str(python), "-m", "pytest", "-q", *what], cwd=ROOT, env=environ, check=False).returncode == 0
    )


if __name__ == "__main__":
    sys.exit(main())
