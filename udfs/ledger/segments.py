"""One segment on storage: written whole, and checked before it is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from udfs.ledger.entries import FORMAT_KEY, SCHEMA, Entry, to_table
from udfs.ledger.manifest import check_format


def write_segment(filesystem: pafs.FileSystem, folder: str, name: str, entries: Sequence[Entry]) -> None:
    """Write ``entries`` as the segment ``name``, which appears whole or not at all.

    Raises:
        OSError: storage refuses; no half file stays behind.
    """
    table = to_table(entries)

    def write(path: str) -> None:
        pq.write_table(table, path, filesystem=filesystem, compression="zstd")

    filesystem.create_dir(folder, recursive=True)
    _appear_whole(filesystem, folder, name, write)


def write_text(filesystem: pafs.FileSystem, folder: str, name: str, text: str) -> None:
    """Write a small text file, which appears whole or not at all.

    Raises:
        OSError: storage refuses; no half file stays behind.
    """

    def write(path: str) -> None:
        with filesystem.open_output_stream(path) as stream:
            stream.write(text.encode())

    filesystem.create_dir(folder, recursive=True)
    _appear_whole(filesystem, folder, name, write)


def read_text(filesystem: pafs.FileSystem, path: str) -> str:
    """Return a small file's text.

    Raises:
        OSError: it can't be read.
        UnicodeDecodeError: it is no text.
    """
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read()).decode()


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


def _appear_whole(filesystem: pafs.FileSystem, folder: str, name: str, write: Callable[[str], None]) -> None:
    temporary = f"{folder}/.{name}.tmp"
    try:
        write(temporary)
        # A rename on a file system, a copy and a deletion on an object store: there, too, the name appears whole.
        filesystem.move(temporary, f"{folder}/{name}")
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.delete_file(temporary)
        raise
