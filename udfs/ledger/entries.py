"""What stands in a ledger: entries, the keys that they are found by, and their columns in a segment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from udfs.well_formed import well_formed

FORMAT_VERSION = 1
# Where a segment says which format it has, in the Parquet file's own metadata.
FORMAT_KEY = b"promptmill.ledger.format"


class Entry(NamedTuple):
    """What one call brought. ``error_kind`` is ``None`` for an answer, else one of the prompt's own failures.

    ``kind`` is ``answer``, ``verdict`` or ``reflection``; ``answered_at`` is in seconds since 1970. A tuple and no
    dataclass, because one is made per call and a frozen dataclass of 15 fields costs 3 µs.
    """

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
        return json.dumps(self._asdict(), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Read what :meth:`to_json`, or Spark's ``to_json`` (which leaves nulls out), wrote."""
        found = json.loads(text)
        return cls(*(found.get(name) for name in cls._fields))


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
    metadata={FORMAT_KEY: str(FORMAT_VERSION)},
)

_DDL_TYPES = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double"}
# The same schema for Spark's reader.
DDL = ", ".join(f"{field.name} {_DDL_TYPES[field.type]}" for field in SCHEMA)


def to_table(entries: Sequence[Entry]) -> pa.Table:
    """Return entries as a table of :data:`SCHEMA`; text that can't be encoded is made :func:`well_formed`."""
    columns = list(zip(*entries, strict=True)) or [()] * len(SCHEMA)
    arrays = [_column(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def to_entries(table: pa.Table) -> Iterator[Entry]:
    """Yield the entries of a table that has the columns of :data:`SCHEMA`."""
    columns = (table.column(name).to_pylist() for name in Entry._fields)
    return map(Entry._make, zip(*columns, strict=True))


def latest(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the latest entry of each key; a tie is broken by run and output, so that everyone picks the same.

    A key has several entries where one pair was paid for twice, as two drivers at once may do. Spark's order in
    ``engine.ledger_frame`` is this one.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        known = found.get(entry.key)
        if known is None or _age(entry) > _age(known):
            found[entry.key] = entry
    return found


def answer_key(endpoint_id: str, candidate_id: str, row_id: str, sample: int = 0) -> str:
    """Return the key of an endpoint's answer to a candidate rendered with a row.

    Its parts are joined plainly; none of them can hold the separator.

    >>> answer_key("e", "c", "r")[:8]
    '30742d36'
    """
    return hashlib.sha256(f"answer|{endpoint_id}|{candidate_id}|{row_id}|{sample}".encode()).hexdigest()


def verdict_key(endpoint_id: str, judge_id: str, row_id: str, expectations: str, output: str, sample: int = 0) -> str:
    """Return the key of a judge's verdict over one output for one row.

    The candidate is not part of it: two candidates that answer alike are judged once. ``sample`` above 0 is the same
    question asked once more, to see whether the judge agrees with itself.
    """
    judged = (hashlib.sha256(text.encode()).hexdigest() for text in (expectations, output))
    again = (str(sample),) if sample else ()
    return hashlib.sha256("|".join(("verdict", endpoint_id, judge_id, row_id, *judged, *again)).encode()).hexdigest()


def reflection_key(endpoint_id: str, messages: str, sample: int) -> str:
    """Return the key of a reflection model's reply; ``messages`` is the request as canonical JSON."""
    request = hashlib.sha256(messages.encode()).hexdigest()
    return hashlib.sha256(f"reflection|{endpoint_id}|{request}|{sample}".encode()).hexdigest()


def _age(entry: Entry) -> tuple[float, str, bool, str]:
    return (entry.answered_at, entry.run_id, entry.output is not None, entry.output or "")


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        # One such text must not cost the whole segment, whose other answers were paid for, too.
        return pa.array([well_formed(value) if isinstance(value, str) else value for value in values], kind)
