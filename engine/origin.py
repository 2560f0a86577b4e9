"""The guard against a foreign package named ``udfs`` on the path: the two names are common."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType


def check_origin(engine: ModuleType, udfs: ModuleType) -> None:
    """Make sure that ``udfs`` is the package that stands beside ``engine``.

    Raises:
        ImportError: it is another one; the message names both places and the mend.
    """
    ours = Path(str(engine.__file__)).resolve().parent.parent
    found = Path(str(udfs.__file__)).resolve().parent if udfs.__file__ else None
    if found is None or found.parent != ours or not hasattr(udfs, "LedgerLocation"):
        places = found or list(getattr(udfs, "__path__", ["unknown"]))
        raise ImportError(
            f"promptmill's engine is in {ours / 'engine'}, but Python found another package named 'udfs' in {places}. "
            f"Put {ours} before it on sys.path (PYTHONPATH), or take the other package off the path."
        )
