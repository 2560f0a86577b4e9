"""Where a ledger is, and how its entries are read."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from udfs.files import filesystem_of, names_in
from udfs.ledger.entries import FORMAT_VERSION, SCHEMA, Entry, to_entries
from udfs.ledger.listing import Listing, Segment, list_ledger, mark_damaged, tell_damaged

# Segments read at once: enough to hide an object store's latency, and what is read of them is small by its filter.
_READING_AT_ONCE = 8


@dataclass(frozen=True)
class LedgerLocation:
    """A ledger's folder: a local path, ``/Volumes/…``, or an object-store URI."""

    root: str

    @property
    def folder(self) -> str:
        """Where the segments of this format version are."""
        return f"{self.root.rstrip('/')}/ledger/v{FORMAT_VERSION}"

    @property
    def uses(self) -> str:
        """Where runs leave what they reused."""
        return f"{self.root.rstrip('/')}/ledger/uses"

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """Return the file system and the folder's path on it."""
        return filesystem_of(self.folder)

    def listing(self) -> Listing:
        """List the ledger: what is live, superseded and damaged; see :func:`udfs.ledger.listing.list_ledger`.

        Raises:
            LedgerError: a later promptmill wrote into it.
        """
        return list_ledger(*self.filesystem())

    def segments(self, prefix: str = "") -> list[str]:
        """Return the paths of all segments that writers of this ``prefix`` closed, superseded or not, by name."""
        _, folder = self.filesystem()
        names = (n for n in names_in(self.folder) if n.startswith(prefix) and n.endswith(".parquet"))
        return [f"{folder}/{name}" for name in names]

    def closed_by(self, prefix: str) -> Iterator[Entry]:
        """Yield what writers of this ``prefix`` closed, even where it has been compacted since.

        It is how a task that Spark starts again finds its earlier attempts' entries.
        """
        filesystem, _ = self.filesystem()
        for path in self.segments(prefix):
            table = _read(filesystem, path, SCHEMA.names, None)
            if table is not None:
                yield from to_entries(table)

    def entries(
        self,
        *,
        kinds: Collection[str] = (),
        endpoint_ids: Collection[str] = (),
        row_ids: Collection[str] | None = None,
    ) -> Iterator[Entry]:
        """Yield the entries of all live segments, in the order of their names.

        ``kinds`` and ``endpoint_ids`` narrow what is read where they are given, and so do ``row_ids``. A key may come
        several times, see :func:`udfs.ledger.entries.latest`.
        """
        wanted = {"kind": kinds or None, "endpoint_id": endpoint_ids or None, "row_id": row_ids}
        filters = [
            pc.field(column).isin(pa.array(sorted(values), pa.string()))
            for column, values in wanted.items()
            if values is not None
        ]
        for table in self.tables(SCHEMA.names, filters):
            yield from to_entries(table)

    def tables(self, columns: Sequence[str], filters: Sequence[Any] = ()) -> Iterator[pa.Table]:
        """Yield one table of these ``columns`` a live segment, with the rows that all ``filters`` let through."""
        filesystem, folder = self.filesystem()
        condition = functools.reduce(lambda left, right: left & right, filters) if filters else None

        def read(segment: Segment) -> pa.Table | None:
            return _read(filesystem, f"{folder}/{segment.name}", columns, condition, size=segment.size)

        live = self.listing().live
        with ThreadPoolExecutor(_READING_AT_ONCE) as pool:
            for start in range(0, len(live), _READING_AT_ONCE):
                found = pool.map(read, live[start : start + _READING_AT_ONCE])
                yield from (table for table in found if table is not None)


def _read(
    filesystem: pafs.FileSystem, path: str, columns: Sequence[str], condition: Any, *, size: int | None = None
) -> pa.Table | None:
    try:
        # No partitioning: a root such as /data/run_id=7 would otherwise add a column of that name.
        table: pa.Table = pq.read_table(
            path, filesystem=filesystem, columns=list(columns), filters=condition, partitioning=None
        )
    except (OSError, pa.ArrowException) as error:
        if size is not None:
            mark_damaged(path, size, str(error))
        tell_damaged(f"the ledger's segment {path}", str(error))
        return None
    return table
