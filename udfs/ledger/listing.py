"""Which segments of a ledger are to be read: neither superseded nor damaged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow.fs as pafs

from udfs.ledger.manifest import Manifest, is_manifest
from udfs.ledger.segments import defect

log = logging.getLogger(__name__)

# Footers and manifests looked at at once: an object store answers in about 50 ms, and never changes its mind.
_LOOKING_AT_ONCE = 16
# Segments and manifests never change under their name and size, so each process looks at each of them once.
_DEFECTS: dict[tuple[str, int], str | None] = {}
_MANIFESTS: dict[tuple[str, int], Manifest] = {}
_TOLD: set[str] = set()


@dataclass(frozen=True)
class Segment:
    """A segment on storage: ``name`` below the ledger's folder, ``size`` in bytes, ``modified_at`` since 1970."""

    name: str
    size: int
    modified_at: float


@dataclass(frozen=True)
class Listing:
    """What a ledger's folder held at one moment.

    ``live`` are the segments to read, by name; ``superseded`` maps names to when their entries were merged into others;
    ``damaged`` maps names to what is wrong with them. ``temporary`` are files that a crash left, or that are just being
    written, and ``unfinished`` the folders of compactions without a manifest.
    """

    live: tuple[Segment, ...] = ()
    superseded: Mapping[str, float] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    present: Mapping[str, Segment] = field(default_factory=dict)
    temporary: tuple[Segment, ...] = ()
    unfinished: tuple[Segment, ...] = ()


def list_ledger(filesystem: pafs.FileSystem, folder: str) -> Listing:
    """List a ledger's folder once and tell what is live. Damaged files are warned of, once a process.

    A manifest counts only while all that it merged can be read: otherwise the segments that it supersedes are read as
    before, as far as they are still there. So no damage to a compacted segment hides what its sources hold.

    Raises:
        LedgerError: a later promptmill wrote a segment or a manifest.
    """
    return _Look(filesystem, folder).listing()


def forget_checks() -> None:
    """Forget what this process knows of segments, as a new process does."""
    _DEFECTS.clear()
    _MANIFESTS.clear()
    _TOLD.clear()


class _Look:
    """One look at a folder."""

    def __init__(self, filesystem: pafs.FileSystem, folder: str) -> None:
        self._filesystem, self._folder = filesystem, folder
        found = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        self._files = [info for info in found if info.is_file]
        self._folders = [info for info in found if info.type == pafs.FileType.Directory]
        self._damaged: dict[str, str] = {}
        self._valid: dict[str, bool] = {}

    def listing(self) -> Listing:
        manifests = self._manifests
        present = self._present
        superseding: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            for name in manifest.supersedes:
                superseding.setdefault(name, []).append(manifest)
        self._superseding = superseding
        self._check(segment for segment in present.values() if segment.name not in superseding)
        superseded = {
            name: min(manifest.made_at for manifest in counting)
            for name, by in superseding.items()
            if (counting := [manifest for manifest in by if self._counts(manifest)])
        }
        candidates = [segment for name, segment in sorted(present.items()) if name not in superseded]
        self._check(candidates)
        live = tuple(segment for segment in candidates if self._defect(segment) is None)
        for segment in candidates:
            if reason := self._defect(segment):
                self._report(segment.name, f"the ledger's segment {self._path(segment.name)}", reason)
        known = {manifest.compaction_id for manifest in manifests}
        return Listing(
            live,
            superseded,
            dict(self._damaged),
            tuple(manifests),
            present,
            tuple(_segment(i, i.base_name) for i in self._files if _is_temporary(i.base_name)),
            tuple(
                _segment(i, i.base_name)
                for i in self._folders
                if is_manifest(f"{i.base_name}.json") and i.base_name not in known
            ),
        )

    @cached_property
    def _manifests(self) -> list[Manifest]:
        """All manifests; a damaged one still names its segments, by its folder, and supersedes nothing."""
        infos = [info for info in self._files if is_manifest(info.base_name)]
        with ThreadPoolExecutor(_LOOKING_AT_ONCE) as pool:
            return sorted(pool.map(self._manifest, infos), key=lambda manifest: manifest.compaction_id)

    def _manifest(self, info: pafs.FileInfo) -> Manifest:
        key = (info.path, info.size)
        if key not in _MANIFESTS:
            try:
                with self._filesystem.open_input_stream(info.path) as stream:
                    _MANIFESTS[key] = Manifest.from_json(info.base_name, bytes(stream.read()).decode())
            except (OSError, ValueError) as error:
                self._report(info.base_name, f"the ledger's manifest {info.path}", str(error))
                compaction_id = info.base_name.removesuffix(".json")
                selector = pafs.FileSelector(self._path(compaction_id), allow_not_found=True)
                parts = [i.base_name for i in self._filesystem.get_file_info(selector) if _is_segment(i.base_name)]
                return Manifest(compaction_id, tuple(f"{compaction_id}/{part}" for part in parts), (), 0.0)
        return _MANIFESTS[key]

    @cached_property
    def _present(self) -> dict[str, Segment]:
        flat = {info.base_name: _segment(info, info.base_name) for info in self._files if _is_segment(info.base_name)}
        merged = [name for manifest in self._manifests for name in manifest.segments]
        infos = self._filesystem.get_file_info([self._path(name) for name in merged]) if merged else []
        found = zip(merged, infos, strict=True)
        return flat | {name: _segment(info, name) for name, info in found if info.is_file}

    def _counts(self, manifest: Manifest) -> bool:
        """Whether all that the manifest merged can be read, there or in what superseded it in turn."""
        known = self._valid.get(manifest.compaction_id)
        if known is None:
            # No manifest can supersede itself, however far round: it merges what was there before.
            known = self._valid[manifest.compaction_id] = all(self._readable(name) for name in manifest.segments)
        return known

    def _readable(self, name: str) -> bool:
        if any(self._counts(later) for later in self._superseding.get(name, ())):
            return True
        segment = self._present.get(name)
        if segment is None:
            self._report(name, f"the ledger's segment {self._path(name)}", "it is missing")
            return False
        return self._defect(segment) is None

    def _check(self, segments: Iterable[Segment]) -> None:
        new = [segment for segment in segments if (self._path(segment.name), segment.size) not in _DEFECTS]
        if len(new) > 1:
            with ThreadPoolExecutor(_LOOKING_AT_ONCE) as pool:
                list(pool.map(self._defect, new))

    def _defect(self, segment: Segment) -> str | None:
        path = self._path(segment.name)
        key = (path, segment.size)
        if key not in _DEFECTS:
            _DEFECTS[key] = defect(self._filesystem, path)
        return _DEFECTS[key]

    def _report(self, name: str, what: str, reason: str) -> None:
        self._damaged[name] = reason
        tell_damaged(what, reason)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


def tell_damaged(what: str, reason: str) -> None:
    """Warn, once a process, of something that can't be read."""
    if what not in _TOLD:
        _TOLD.add(what)
        log.warning("%s can't be read and is skipped, what only it holds is called again: %s", what, reason)


def mark_damaged(path: str, size: int, reason: str) -> None:
    """Remember that a segment whose footer is well can't be read all the same."""
    _DEFECTS[path, size] = reason


def _is_segment(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _segment(info: pafs.FileInfo, name: str) -> Segment:
    return Segment(name, info.size or 0, info.mtime.timestamp() if info.mtime else 0.0)
