"""The ledger: every answer that was paid for, on storage within seconds, so that nothing is paid for twice.

A ledger is a folder of *segments*: Parquet files, one writer each, that appear whole by rename. A key names what was
asked (see :func:`answer_key`, :func:`verdict_key`); the entry under it holds what came back. Only answers and the
prompt's own failures are kept; infrastructure failures are not. Many small segments are merged into *compacted* ones;
a :class:`Manifest` says which segments these supersede.
"""

from udfs.ledger.entries import (
    DDL,
    FORMAT_VERSION,
    SCHEMA,
    Entry,
    answer_key,
    latest,
    reflection_key,
    to_entries,
    to_table,
    verdict_key,
)
from udfs.ledger.listing import Listing, Segment
from udfs.ledger.location import LedgerLocation
from udfs.ledger.manifest import Manifest
from udfs.ledger.segments import write_segment
from udfs.ledger.writer import SEGMENT_ANSWERS, SEGMENT_SECONDS, Ledger, SegmentLedger

__all__ = [
    "DDL",
    "FORMAT_VERSION",
    "SCHEMA",
    "SEGMENT_ANSWERS",
    "SEGMENT_SECONDS",
    "Entry",
    "Ledger",
    "LedgerLocation",
    "Listing",
    "Manifest",
    "Segment",
    "SegmentLedger",
    "answer_key",
    "latest",
    "reflection_key",
    "to_entries",
    "to_table",
    "verdict_key",
    "write_segment",
]
