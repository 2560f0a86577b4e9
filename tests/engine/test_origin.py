"""The guard against a foreign package of the same name, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def import_engine(*path):
    """Import the engine with these folders on the path; return the finished process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-P", "-c", "import engine; print('imported')"]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("foreign", ["udfs/__init__.py", "udfs.py", "udfs/only_a_namespace.py"])
def test_a_foreign_udfs_is_refused_with_both_places_and_the_mend(tmp_path, foreign):
    """Whatever a stranger's ``udfs`` is, the message says where both are and what to do."""
    path = tmp_path / foreign
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    found = import_engine(tmp_path, ROOT)
    if foreign.endswith("namespace.py"):  # a folder without __init__ gives way to a real package further on
        assert found.stdout.strip() == "imported"
        return
    assert found.returncode == 1
    error = found.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: promptmill's engine is in")
    assert str(ROOT / "engine") in error
    assert str(tmp_path) in error
    assert "PYTHONPATH" in error


def test_our_own_udfs_is_accepted(tmp_path):
    """From a checkout on the path the engine imports, whatever comes after it."""
    (tmp_path / "udfs.py").write_text("")
    found = import_engine(ROOT, tmp_path)
    assert found.stdout.strip() == "imported", found.stderr
