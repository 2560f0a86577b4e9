"""Compaction: many small segments of a ledger become few, sorted ones; see ``docs/decisions/0009``.

What happens, and what a crash after each step leaves:

1. The live small segments are merged into a folder of its own. *A folder that nobody reads.*
2. A manifest that names the merged segments and those they supersede appears whole, by rename. *A compacted ledger.*

Superseded segments stay: who listed them before the manifest appeared may read them still. Only an explicit
:func:`remove_superseded` takes away those that were superseded for more than a day.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow.fs as pafs
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from engine.ledger_frame import latest_entry, read_segments
from engine.storage import spark_path
from udfs.errors import LedgerError
from udfs.files import write_whole
from udfs.ledger import SCHEMA, LedgerLocation, Manifest, Segment
from udfs.ledger.manifest import new_compaction_id
from udfs.ledger.segments import defect

log = logging.getLogger(__name__)

# So many small segments make the compaction at the end of a run worth its 2 s or so: every later planning opens each
# of them, in about 1 ms on a disk and 50 ms on an object store.
WORTHWHILE_SEGMENTS = 200
# Segments from this size on are no longer small: merging them again would rewrite the whole ledger with every run.
_LARGE_BYTES = 32 * 2**20
# What one merged segment should hold, and one of its row groups: small enough to be skipped when none of it is wanted.
_MERGED_BYTES = 128 * 2**20
_ROW_GROUP_BYTES = 16 * 2**20
# Nobody reads a listing that is a day old.
REMOVED_AFTER_S = 24 * 3600.0
# By these a merged segment is sorted: what an evaluation asks for lies together, and the rest is skipped.
_ORDER = ("kind", "endpoint_id", "candidate_id", "row_id")


class Merge(Protocol):
    """How segments are merged."""

    def __call__(self, ledger: LedgerLocation, segments: Sequence[Segment], folder: str) -> None:
        """Write the latest entry of each key in ``segments`` into Parquet files in ``folder``, sorted.

        ``folder`` is a path or URI below the ledger's own folder, and not there yet.

        Raises:
            LedgerError: a segment can't be read, or the folder can't be written.
        """
        ...


@dataclass(frozen=True)
class SparkMerge:
    """Merges with Spark; the reference implementation of :class:`Merge`."""

    spark: SparkSession

    def __call__(self, ledger: LedgerLocation, segments: Sequence[Segment], folder: str) -> None:
        """Merge; see :class:`Merge`."""
        files = max(1, -(-sum(segment.size for segment in segments) // _MERGED_BYTES))
        try:
            entries = read_segments(self.spark, ledger, [segment.name for segment in segments], skip_corrupt=False)
            merged = entries.groupBy("key").agg(latest_entry().alias("entry")).select("entry.*").select(SCHEMA.names)
            sorted_ = merged.repartitionByRange(files, *_ORDER).sortWithinPartitions(*_ORDER)
            writer = sorted_.write.option("compression", "zstd").option("parquet.block.size", str(_ROW_GROUP_BYTES))
            writer.parquet(spark_path(folder))
        except (PySparkException, Py4JJavaError) as error:
            raise LedgerError(f"the segments of {ledger.folder} can't be merged: {str(error)[:300]}") from error


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: how many segments it merged into how many, and their bytes."""

    merged: int
    into: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class Removed:
    """What was taken off storage."""

    files: int
    bytes: int


def compact(
    ledger: LedgerLocation, merge: Merge, *, least: int = 2, clock: Callable[[], float] = time.time
) -> Compacted | None:
    """Merge the ledger's small segments; ``None`` where there are fewer than ``least``, or another was faster.

    Whoever reads or writes the ledger meanwhile, or compacts it, notices nothing.

    Raises:
        LedgerError: the segments can't be read or the merged ones not written; the ledger is as it was.
    """
    small = _small(ledger)
    if len(small) < least:
        return None
    filesystem, folder = ledger.filesystem()
    compaction_id = new_compaction_id()
    try:
        merge(ledger, small, f"{ledger.folder}/{compaction_id}")
    except LedgerError:
        # A segment may be broken behind a sound footer: reading them one by one finds it, and marks it as damaged.
        for _ in ledger.tables(SCHEMA.names):
            pass
        sound = _small(ledger)
        if {segment.name for segment in small} <= {segment.name for segment in sound} or len(sound) < least:
            raise
        small, compaction_id = sound, new_compaction_id()
        merge(ledger, small, f"{ledger.folder}/{compaction_id}")
    into = _sound_segments(filesystem, folder, compaction_id)
    names = tuple(segment.name for segment in small)
    # Another driver may have compacted them meanwhile. Should it do so after this look, entries stand in both, and the
    # latest of each is the same.
    if not set(names).isdisjoint(ledger.listing().superseded):
        filesystem.delete_dir(f"{folder}/{compaction_id}")
        return None
    manifest = Manifest(compaction_id, tuple(segment.name for segment in into), names, clock())
    try:
        write_whole(f"{ledger.folder}/{manifest.name}", manifest.to_json().encode())
    except OSError as error:
        raise LedgerError(f"the manifest {folder}/{manifest.name} can't be written: {error}") from error
    sizes = (sum(segment.size for segment in segments) for segments in (small, into))
    return Compacted(len(small), len(into), *sizes)


def compact_if_worthwhile(spark: SparkSession, ledger: LedgerLocation) -> None:
    """Compact at the end of a run where that is worth it; whatever goes wrong is no more than a warning."""
    try:
        found = compact(ledger, SparkMerge(spark), least=WORTHWHILE_SEGMENTS)
    except Exception:
        # The answers are on storage as they were, and the next run tries again.
        log.warning("the ledger in %s could not be compacted", ledger.folder, exc_info=True)
        return
    if found is not None:
        log.info(
            "merged %d segments of the ledger into %d; `promptmill ledger compact` takes the old ones away after a day",
            found.merged,
            found.into,
        )


def remove_superseded(
    ledger: LedgerLocation, *, after_s: float = REMOVED_AFTER_S, clock: Callable[[], float] = time.time
) -> Removed:
    """Remove what has not been read for ``after_s``: superseded segments, and what crashes left behind.

    No entry goes but those of which a later one is kept under the same key.

    Raises:
        LedgerError: something can't be removed.
    """
    filesystem, folder = ledger.filesystem()
    listing = ledger.listing()
    before = clock() - after_s
    old = [name for name, since in listing.superseded.items() if since < before and name in listing.present]
    sizes = [listing.present[name].size for name in old]
    left = listing.present.keys() - set(old)
    try:
        for name in old:
            filesystem.delete_file(f"{folder}/{name}")
        for manifest in listing.manifests:
            # Its work is done when what it superseded is gone, and what it merged was merged again and is gone, too.
            merged_again = all(name in listing.superseded for name in manifest.segments)
            if merged_again and left.isdisjoint((*manifest.segments, *manifest.supersedes)):
                filesystem.delete_dir(f"{folder}/{manifest.compaction_id}")
                filesystem.delete_file(f"{folder}/{manifest.name}")
        for temporary in listing.temporary:
            if 0 < temporary.modified_at < before:
                filesystem.delete_file(f"{folder}/{temporary.name}")
                sizes.append(temporary.size)
        for unfinished in listing.unfinished:
            sizes += _remove_unfinished(filesystem, f"{folder}/{unfinished.name}", before)
    except OSError as error:
        raise LedgerError(f"the ledger in {ledger.folder} can't be cleaned up: {error}; mend the rights") from error
    return Removed(len(sizes), sum(sizes))


def _small(ledger: LedgerLocation) -> list[Segment]:
    return [segment for segment in ledger.listing().live if segment.size < _LARGE_BYTES]


def _sound_segments(filesystem: pafs.FileSystem, folder: str, compaction_id: str) -> list[Segment]:
    found = []
    for info in filesystem.get_file_info(pafs.FileSelector(f"{folder}/{compaction_id}")):
        if info.is_file and info.base_name.endswith(".parquet"):
            if reason := defect(filesystem, info.path):
                raise LedgerError(f"the merged segment {info.path} can't be read back: {reason}")
            found.append(Segment(f"{compaction_id}/{info.base_name}", info.size, 0.0))
    if not found:
        raise LedgerError(f"the compaction {folder}/{compaction_id} wrote no segment")
    return sorted(found, key=lambda segment: segment.name)


def _remove_unfinished(filesystem: pafs.FileSystem, folder: str, before: float) -> list[int]:
    """Remove the folder of a compaction that has no manifest, unless somebody has written into it since."""
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    files = [info for info in infos if info.is_file]
    written = [info.mtime.timestamp() for info in files if info.mtime]
    # Without a file nothing says how old it is: an object store has no empty folders, on a disk one takes no room.
    if not written or max(written) >= before:
        return []
    filesystem.delete_dir(folder)
    return [info.size for info in files]
