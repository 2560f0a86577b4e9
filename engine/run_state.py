"""A run's identity on disk: what lets the same ``--run-dir`` go on with the run instead of beginning another."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.errors import ConfigError

FORMAT_VERSION = 1
_FILE = "run.json"


@dataclass(frozen=True)
class RunState:
    """``run.json`` of a run directory. ``run_dir`` is absolute and local to the driver (a path or ``/Volumes/…``)."""

    run_dir: str
    run_id: str
    fingerprint: str
    mlflow_run_id: str | None = None
    format: int = FORMAT_VERSION

    @classmethod
    def open(cls, run_dir: str, settings: str) -> RunState:
        """Return the state of the run in ``run_dir``, or begin one there.

        Raises:
            ConfigError: the folder belongs to a run with other settings, or can't be used.
        """
        folder = Path(run_dir).expanduser().absolute()
        fingerprint = hashlib.sha256(settings.encode()).hexdigest()
        path = folder / _FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                return _written(cls(str(folder), uuid.uuid4().hex, fingerprint))
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--run-dir {run_dir}: can't be used: {error}; give another folder") from error
        if found.get("format") != FORMAT_VERSION:
            raise ConfigError(f"{path}: has format {found.get('format')!r}, this promptmill reads {FORMAT_VERSION}")
        if found.get("fingerprint") != fingerprint:
            raise ConfigError(
                f"--run-dir {run_dir}: belongs to a run with other settings (prompt, models, data set, search or split "
                "differ); give another --run-dir, or the settings of that run"
            )
        return cls(str(folder), found["run_id"], fingerprint, found.get("mlflow_run_id"))

    def with_mlflow_run(self, run_id: str | None) -> RunState:
        """Keep the MLflow run that belongs to this run."""
        return _written(replace(self, mlflow_run_id=run_id))


def _written(state: RunState) -> RunState:
    path = Path(state.run_dir) / _FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({k: v for k, v in asdict(state).items() if k != "run_dir"}, indent=2), "utf-8")
    temporary.replace(path)
    return state
