"""A batch's identity on disk: ``batch.json`` of its run directory, and what is done below it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.batch.line import DONE, NOT_STARTED, BatchLine
from engine.config import AppConfig, PromptOptimizationModel
from engine.errors import ConfigError, InputError
from engine.migration import default_run_dir, lasting_settings
from engine.record import RunRecord

FORMAT_VERSION = 1
_FILE = "batch.json"
# How the folders of batches begin below storage.root, where no --run-dir is given.
PREFIX = "batch"


@dataclass(frozen=True)
class BatchState:
    """``run_dir`` is absolute; ``settings`` has a hash of each optimization's settings, by its key.

    ``changed`` are those without a verdict whose settings are others now than when they ran here.
    """

    run_dir: str
    batch_id: str
    settings: Mapping[str, str]
    format: int = FORMAT_VERSION
    changed: frozenset[str] = frozenset()

    @classmethod
    def open(cls, run_dir: str, optimizations: Mapping[str, PromptOptimizationModel]) -> BatchState:
        """Return the state of the batch in ``run_dir``, or begin one there; optimizations may be new to it.

        Settings of those that have no verdict yet may have been mended: they begin anew.

        Raises:
            ConfigError: the folder can't be used, or an optimization that has a verdict there has other settings now.
        """
        folder = Path(run_dir).expanduser().absolute()
        now = {key: _hash(settings) for key, settings in optimizations.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / "run.json").exists():
                raise ConfigError(
                    f"--run-dir {run_dir}: belongs to a run of one optimization; give another folder to several"
                )
            found = _read(folder)
            state = found or cls(str(folder), uuid.uuid4().hex[:12], {})
            changed = [key for key, value in now.items() if state.settings.get(key, value) != value]
            if decided := [key for key in changed if state.done(key)]:
                raise ConfigError(
                    f"--run-dir {run_dir}: {_few(decided)} had a verdict there with other settings (prompt, models, "
                    "data set, search or split differ); give another --run-dir, or the settings of that batch"
                )
            state = replace(state, settings={**state.settings, **now}, changed=frozenset(changed))
            _write(state)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--run-dir {run_dir}: can't be used: {error}; give another folder") from error
        return state

    def folder(self, key: str) -> str:
        """Return the run directory of one optimization."""
        return f"{self.run_dir}/{folder_name(key)}"

    def done(self, key: str) -> BatchLine | None:
        """Return the line of an optimization that came to a verdict here; ``None`` where it is still to be run."""
        record = self.record(key)
        if record is None or record.result.get("status") not in DONE:
            return None
        return BatchLine.of(key, folder_name(key), record, earlier=True)

    def left(self, key: str) -> BatchLine:
        """Return the line of what one that was not chosen has left here."""
        record = self.record(key)
        if record is None:
            return BatchLine(key, NOT_STARTED, folder_name(key), "not chosen", earlier=True)
        return BatchLine.of(key, folder_name(key), record, earlier=True)

    def make_way(self, key: str) -> None:
        """Put what an optimization whose settings were changed left here aside; its answers are in the ledger."""
        folder = Path(self.folder(key))
        if key in self.changed and folder.exists():
            folder.rename(f"{folder}.{uuid.uuid4().hex[:8]}.before")

    def record(self, key: str) -> RunRecord | None:
        """Return what an optimization left here; ``None`` where it left nothing that can be read."""
        try:
            return RunRecord.read(self.folder(key))
        except InputError:
            return None


def folder_name(key: str) -> str:
    """Return the name of an optimization's folder: its key, whatever is in it.

    >>> folder_name("migrate_classify"), folder_name("team/classify"), folder_name("..")
    ('migrate_classify', 'team%2Fclassify', '%2E.')
    """
    name = key.replace("%", "%25").replace("/", "%2F").replace("\\", "%5C")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def is_batch(run_dir: str | None) -> bool:
    """Return whether there is a batch in ``run_dir``: then one optimization alone is one of it, too."""
    return run_dir is not None and (Path(run_dir).expanduser() / _FILE).exists()


def batch_run_dir(app: AppConfig) -> str:
    """Return a new folder for a batch, see :func:`engine.migration.default_run_dir`."""
    return default_run_dir(app, PREFIX)


def newest_batch(app: AppConfig, optimizations: Mapping[str, PromptOptimizationModel]) -> str:
    """Return the folder of the newest run that has any of the ``optimizations``: of a batch, or of the only one.

    Raises:
        InputError: there is none below the storage's root.
    """
    runs = Path(default_run_dir(app, PREFIX)).expanduser().absolute().parent
    only = next(iter(optimizations.values())) if len(optimizations) == 1 else None
    for folder in sorted(runs.glob("*/"), key=lambda found: found.name[-_STAMP:], reverse=True):
        if only is not None:
            if folder.name[: -_STAMP - 1] == only.name and (folder / "run.json").exists():
                return str(folder)
        elif (found := _read(folder)) is not None and not found.settings.keys().isdisjoint(optimizations):
            return str(folder)
    names = "such a run" if only is None else f"a run of {only.name}"
    raise InputError(
        f"--resume: {runs} has no {names.removeprefix('a ')} to go on with; leave --resume out to begin one, or name "
        "its folder with --run-dir"
    )


# The length of the time in a folder's name.
_STAMP = len("20261121-101500")


def _read(folder: Path) -> BatchState | None:
    path = folder / _FILE
    if not path.exists():
        return None
    found = json.loads(path.read_text("utf-8"))
    if found.get("format") != FORMAT_VERSION:
        raise ConfigError(f"{path}: has format {found.get('format')!r}, this promptmill reads {FORMAT_VERSION}")
    return BatchState(str(folder), found["batch_id"], found["settings"])


def _write(state: BatchState) -> None:
    path = Path(state.run_dir) / _FILE
    temporary = path.with_suffix(".tmp")
    values = {"format": state.format, "batch_id": state.batch_id, "settings": dict(state.settings)}
    temporary.write_text(json.dumps(values, indent=1), "utf-8")
    temporary.replace(path)


def _hash(settings: PromptOptimizationModel) -> str:
    return hashlib.sha256(json.dumps(lasting_settings(settings), sort_keys=True).encode()).hexdigest()[:16]


def _few(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
