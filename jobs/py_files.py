"""The zip for ``spark-submit --py-files``, made of the wheel: ``python -m jobs.py_files dist/promptmill-….whl``.

It holds the packages with their data, the wheel's metadata (so that ``--version`` answers) and ``conf``. It holds no
dependency: those are installed where Spark's Python is.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

# Where a wheel keeps what setup.py calls data_files; in the zip it lies beside the packages, as in a checkout.
_DATA = ".data/data/share/promptmill/"


def py_files(wheel: Path) -> Path:
    """Write the zip beside ``wheel`` and return its path: same wheel, same bytes.

    Raises:
        OSError: the wheel can't be read, or the zip not be written.
    """
    name, version = wheel.name.split("-")[:2]
    path = wheel.with_name(f"{name}-{version}.zip")
    with zipfile.ZipFile(wheel) as packed, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in sorted(packed.namelist()):
            placed = entry.partition(_DATA)[2] or entry
            if ".data/" not in placed:
                archive.writestr(zipfile.ZipInfo(placed), packed.read(entry), zipfile.ZIP_DEFLATED)
    return path


if __name__ == "__main__":
    for named in sys.argv[1:]:
        print(py_files(Path(named)))
