"""The wheel and the zip that ``make dist`` builds, and a Python that has what they need and nothing of promptmill."""

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from spark_clusters import ROOT


def build(folder: Path) -> tuple[Path, Path]:
    """Build wheel and zip as the Makefile does, from a copy of nothing: into ``folder``; return both paths."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True, cwd=folder)
    (wheel,) = folder.glob("promptmill-*.whl")
    said = subprocess.run(
        [sys.executable, "-m", "jobs.py_files", str(wheel)], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return wheel, Path(said.stdout.strip())


def clean_python(folder: Path) -> Path:
    """Make an environment with the dependencies of this one, but without promptmill; return its interpreter.

    A .pth file that names a folder adds it to the path and reads no .pth in it: an editable install of promptmill,
    which is one, is not there.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said = subprocess.run([python, "-c", "import udfs"], cwd=folder, capture_output=True, text=True, check=False)
    assert re.search("No module named 'udfs'", said.stderr), said
    subprocess.run([python, "-c", "import aiohttp, tenacity, pandas, pyarrow"], cwd=folder, check=True)
    return python
