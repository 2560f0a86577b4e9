"""One segment on storage: written whole, and checked before it is read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from udfs.files import written_whole
from udfs.ledger.entries import FORMAT_KEY, SCHEMA, Entry, to_table
from udfs.ledger.manifest import check_format


def write_segment(filesystem: pafs.FileSystem, folder: str, name: str, entries: Sequence[Entry]) -> None:
    """Write ``entries`` as the segment ``name``, which appears whole or not at all.

    Raises:
        OSError: storage refuses; no half file stays behind.
    """
    with written_whole(filesystem, f"{folder}/{name}") as temporary:
        pq.write_table(to_table(entries), temporary, filesystem=filesystem, compression="zstd")


def defect(filesystem: pafs.FileSystem, path: str) -> str | None:
    """Return why the file is no segment that can be read, ``None`` where it is one. Reads its footer only.

    Raises:
        LedgerError: a later promptmill wrote it.
    """
    try:
        footer = pq.read_metadata(path, filesystem=filesystem)
    except (OSError, pa.ArrowException) as error:
        return str(error).strip() or type(error).__name__
    # Spark writes compacted segments without our metadata; their manifest carries the format.
    version = (footer.metadata or {}).get(FORMAT_KEY)
    try:
        if version is not None:
            check_format(int(version), f"the ledger's segment {path}")
    except ValueError as error:
        return str(error)
    lacking = set(SCHEMA.names) - set(footer.schema.names)
    return f"it lacks the columns {', '.join(sorted(lacking))}" if lacking else None
