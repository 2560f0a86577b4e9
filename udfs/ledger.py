"""The ledger: every answer that was paid for, on storage within seconds, so that nothing is paid for twice.

A ledger is a folder of *segments*: Parquet files, one writer each, that appear whole by rename. A key names what was
asked (see :func:`answer_key`, :func:`verdict_key`); the entry under it holds what came back. Only answers and the
prompt's own failures are kept; infrastructure failures are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from udfs.errors import LedgerError

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
# A segment is closed after so many answers or seconds, whichever comes first: this bounds what a crash can lose.
SEGMENT_ANSWERS = 2000
SEGMENT_SECONDS = 5.0
# So many of its own verdicts and reflections a writer remembers (about 1 kB each), because they may be wanted again.
# Answers it forgets: an evaluation asks for no pair twice, and those of a million rows would fill a worker's memory.
_REMEMBERED = 50_000


@dataclass(frozen=True)
class Entry:
    """What one call brought. ``error_kind`` is ``None`` for an answer, else one of the prompt's own failures."""

    key: str
    kind: str
    endpoint_id: str
    candidate_id: str
    row_id: str
    sample: int
    output: str | None
    error_kind: str | None
    error_message: str | None
    prompt_tokens: int
    completion_tokens: int
    latency_ms: float
    attempts: int
    run_id: str
    answered_at: float

    def to_json(self) -> str:
        """Return the entry as JSON, as it travels in the ``known`` column of an evaluation's items."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Read what :meth:`to_json`, or Spark's ``to_json`` (which leaves nulls out), wrote."""
        found = json.loads(text)
        return cls(**{field.name: found.get(field.name) for field in fields(cls)})


SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("kind", pa.string()),
        ("endpoint_id", pa.string()),
        ("candidate_id", pa.string()),
        ("row_id", pa.string()),
        ("sample", pa.int64()),
        ("output", pa.string()),
        ("error_kind", pa.string()),
        ("error_message", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("latency_ms", pa.float64()),
        ("attempts", pa.int64()),
        ("run_id", pa.string()),
        ("answered_at", pa.float64()),
    ],
    metadata={"promptmill.ledger.format": str(FORMAT_VERSION)},
)

_DDL_TYPES = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double"}
# The same schema for Spark's reader.
DDL = ", ".join(f"{field.name} {_DDL_TYPES[field.type]}" for field in SCHEMA)


def answer_key(endpoint_id: str, candidate_id: str, row_id: str, sample: int = 0) -> str:
    """Return the key of an endpoint's answer to a candidate rendered with a row.

    Spark computes the same key with ``sha2(concat_ws('|', …), 256)``, so its parts are joined plainly; none of them
    can hold the separator.

    >>> answer_key("e", "c", "r")[:8]
    '30742d36'
    """
    return hashlib.sha256(f"answer|{endpoint_id}|{candidate_id}|{row_id}|{sample}".encode()).hexdigest()


def verdict_key(endpoint_id: str, judge_id: str, row_id: str, expectations: str, output: str) -> str:
    """Return the key of a judge's verdict over one output for one row.

    The candidate is not part of it: two candidates that answer alike are judged once.
    """
    judged = (hashlib.sha256(text.encode()).hexdigest() for text in (expectations, output))
    return hashlib.sha256("|".join(("verdict", endpoint_id, judge_id, row_id, *judged)).encode()).hexdigest()


def reflection_key(endpoint_id: str, messages: str, sample: int) -> str:
    """Return the key of a reflection model's reply; ``messages`` is the request as canonical JSON."""
    request = hashlib.sha256(messages.encode()).hexdigest()
    return hashlib.sha256(f"reflection|{endpoint_id}|{request}|{sample}".encode()).hexdigest()


class Ledger(Protocol):
    """Where a worker finds and leaves answers."""

    def find(self, key: str) -> Entry | None:
        """Return what is known under ``key``."""
        ...

    def keep(self, entry: Entry) -> None:
        """Keep ``entry``; it is on storage within seconds."""
        ...


@dataclass(frozen=True)
class LedgerLocation:
    """A ledger's folder: a local path, ``/Volumes/…``, or an object-store URI."""

    root: str

    @property
    def folder(self) -> str:
        """Where the segments of this format version are."""
        return f"{self.root.rstrip('/')}/ledger/v{FORMAT_VERSION}"

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """Return the file system and the folder's path on it."""
        if "://" in self.folder:
            found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(self.folder)
            return found
        return pafs.LocalFileSystem(), self.folder

    def segments(self, prefix: str = "") -> list[str]:
        """Return the paths of all closed segments whose names start with ``prefix``, oldest name first."""
        filesystem, folder = self.filesystem()
        selector = pafs.FileSelector(folder, allow_not_found=True)
        names = (info.base_name for info in filesystem.get_file_info(selector) if info.is_file)
        return sorted(f"{folder}/{name}" for name in names if name.startswith(prefix) and name.endswith(".parquet"))

    def read(self, prefix: str = "", columns: Collection[str] | None = None) -> Iterator[pa.Table]:
        """Yield the segments as tables; one that can't be read is skipped with a warning, its rows called again."""
        filesystem, _ = self.filesystem()
        for path in self.segments(prefix):
            try:
                # No partitioning: a root such as /data/run_id=7 would otherwise add a column of that name.
                picked = list(columns) if columns else None
                yield pq.read_table(path, filesystem=filesystem, columns=picked, partitioning=None)
            except (OSError, pa.ArrowException) as error:
                log.warning("the ledger's segment %s can't be read and is skipped: %s", path, error)

    def entries(self, prefix: str = "", row_ids: Collection[str] | None = None) -> Iterator[Entry]:
        """Yield all readable entries; with ``row_ids`` only those of these rows."""
        wanted = None if row_ids is None else pa.array(sorted(row_ids), pa.string())
        for segment in self.read(prefix):
            table = segment if wanted is None else segment.filter(pc.is_in(segment["row_id"], value_set=wanted))
            for found in table.to_pylist():
                yield Entry(**{field.name: found.get(field.name) for field in fields(Entry)})


class SegmentLedger:
    """A worker's ledger: knows the entries it was given, and appends to segments of its own.

    Of what it keeps itself it finds the latest again, answers excepted. ``writer`` starts the names of its segments; no
    other writer may have the same. Used from one event loop; files are written on a thread beside it.
    """

    def __init__(
        self,
        location: LedgerLocation,
        writer: str,
        *,
        known: Iterable[Entry] = (),
        answers: int = SEGMENT_ANSWERS,
        seconds: float = SEGMENT_SECONDS,
    ) -> None:
        self._location = location
        self._writer = f"{writer}-{uuid.uuid4().hex[:12]}"
        self._known = {entry.key: entry for entry in known}
        self._recent: dict[str, Entry] = {}
        self._answers, self._seconds = answers, seconds
        self._open: list[Entry] = []
        self._number = 0
        self._writes: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None

    def find(self, key: str) -> Entry | None:
        """Return what is known under ``key``."""
        return self._known.get(key) or self._recent.get(key)

    def keep(self, entry: Entry) -> None:
        """Keep ``entry``: at most ``seconds`` later, or with the ``answers``-th after it, it is on storage.

        Raises:
            LedgerError: an earlier segment could not be written; going on would risk paying twice.
        """
        if self._failure is not None:
            raise LedgerError(
                f"the ledger in {self._location.folder} can't be written: {self._failure}; make room or mend the "
                "rights, then start the same command again"
            ) from self._failure
        if entry.kind != "answer":
            self._recent[entry.key] = entry
            if len(self._recent) > _REMEMBERED:
                del self._recent[next(iter(self._recent))]
        self._open.append(entry)
        if len(self._open) >= self._answers:
            self._close_segment()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._close_segment)

    async def close(self) -> None:
        """Close the open segment and wait until all are on storage.

        Raises:
            LedgerError: a segment could not be written.
        """
        self._close_segment()
        while self._writes:
            await asyncio.wait(self._writes)
        if self._failure is not None:
            raise LedgerError(
                f"the ledger in {self._location.folder} can't be written: {self._failure}"
            ) from self._failure

    def _close_segment(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._open:
            return
        entries, self._open = self._open, []
        self._number += 1
        name = f"{self._writer}-{self._number:06d}.parquet"
        write = asyncio.get_running_loop().run_in_executor(None, write_segment, self._location, name, entries)
        self._writes.add(write)
        write.add_done_callback(self._written)

    def _written(self, write: asyncio.Future[None]) -> None:
        self._writes.discard(write)
        if not write.cancelled() and write.exception() is not None:
            self._failure = write.exception()


def write_segment(location: LedgerLocation, name: str, entries: Collection[Entry]) -> None:
    """Write ``entries`` as one segment: a temporary file first (readers pass over its name), then a rename."""
    filesystem, folder = location.filesystem()
    filesystem.create_dir(folder, recursive=True)
    temporary = f"{folder}/.{name}.tmp"
    try:
        pq.write_table(
            pa.Table.from_pylist([asdict(entry) for entry in entries], schema=SCHEMA),
            temporary,
            filesystem=filesystem,
            compression="zstd",
        )
        filesystem.move(temporary, f"{folder}/{name}")
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.delete_file(temporary)
        raise
