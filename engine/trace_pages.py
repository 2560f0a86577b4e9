"""Pages of records that were made of traces, as files: what an interrupted reading need not read again.

Each file holds one page and says, in its metadata, where the page ends. Pages are written by several threads, so the
last ones of an interrupted reading may have gaps: it is gone on with behind the first gap.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.storage import Storage
from udfs.files import filesystem_of, names_in, read_whole, write_whole, written_whole
from udfs.records import BY_PERSON, RECORDED_MS

FORMAT_VERSION = 1
RECORDS_SCHEMA = pa.schema(
    [
        ("inputs", pa.string()),
        ("expectations", pa.string()),
        ("weight", pa.string()),
        ("slices", pa.string()),
        ("trace_id", pa.string()),
        (BY_PERSON, pa.int64()),
        (RECORDED_MS, pa.int64()),
    ]
)
RECORDS_DDL = (
    "inputs string, expectations string, weight string, slices string, trace_id string, "
    f"{BY_PERSON} bigint, {RECORDED_MS} bigint"
)
# Names that Spark passes over.
_END, _META = "_END.json", b"promptmill"


@dataclass(frozen=True)
class Cursor:
    """Where a page ends: its number, how many traces there are so far, and the time and ids of the last of them."""

    page: int = 0
    traces: int = 0
    until_ms: int | None = None
    at_until: frozenset[str] = field(default_factory=frozenset)
    done: bool = False


@dataclass(frozen=True)
class PageFolder:
    """The folder of one source's pages; ``identity`` tells sources, and ways to read them, apart."""

    storage: Storage
    identity: str

    @property
    def path(self) -> str:
        """Where the pages are, for Spark."""
        digest = hashlib.sha256(f"{FORMAT_VERSION}|{self.identity}".encode()).hexdigest()[:16]
        return self.storage.folder(f"traces-{digest}")

    def resume(self) -> Cursor:
        """Return where to go on; pages behind a gap are removed."""
        filesystem, path = filesystem_of(self.path)
        filesystem.create_dir(path, recursive=True)
        if read_whole(f"{self.path}/{_END}") is not None:
            return Cursor(done=True)
        names = self._pages()
        whole = [name for number, name in enumerate(names, start=1) if name == _name(number)]
        for name in names[len(whole) :]:
            filesystem.delete_file(f"{path}/{name}")
        if not whole:
            return Cursor()
        end = self._meta(whole[-1])
        return Cursor(end["page"], end["traces"], end["until_ms"], frozenset(end["at_until"]))

    def write(self, cursor: Cursor, records: Sequence[Mapping[str, Any]], left_out: Mapping[str, int]) -> None:
        """Write the page that ends at ``cursor``: all of it, or nothing."""
        meta = {
            "page": cursor.page,
            "traces": cursor.traces,
            "until_ms": cursor.until_ms,
            "at_until": sorted(cursor.at_until),
            "left_out": dict(left_out),
        }
        schema = RECORDS_SCHEMA.with_metadata({_META: json.dumps(meta).encode()})
        filesystem, target = filesystem_of(f"{self.path}/{_name(cursor.page)}")
        with written_whole(filesystem, target) as unfinished:
            pq.write_table(pa.Table.from_pylist(list(records), schema=schema), unfinished, filesystem=filesystem)

    def finish(self) -> None:
        """Note that this is all."""
        write_whole(f"{self.path}/{_END}", json.dumps({"format": FORMAT_VERSION}).encode())

    def left_out(self) -> Counter[str]:
        """How many traces no record could be made of, by reason, over all pages."""
        found: Counter[str] = Counter()
        for name in self._pages():
            found.update(self._meta(name)["left_out"])
        return found

    def _pages(self) -> list[str]:
        return [name for name in names_in(self.path) if name.endswith(".parquet") and not name.startswith((".", "_"))]

    def _meta(self, name: str) -> dict[str, Any]:
        filesystem, path = filesystem_of(f"{self.path}/{name}")
        meta: dict[str, Any] = json.loads(pq.read_schema(path, filesystem=filesystem).metadata[_META])
        return meta


def _name(page: int) -> str:
    return f"{page:06d}.parquet"
