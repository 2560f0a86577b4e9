"""More of the same: traces that MLflow wrote, copied in SQL with ids, times and texts of their own.

MLflow's own path writes some hundred of these traces a second; the rows that it leaves behind are the same for each of
them, so the rest of a large store is made of the first few thousand.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any

_TABLES = {"trace_info": "request_id", "trace_tags": "request_id", "spans": "trace_id"}


def multiply(database: str, times: int) -> Iterator[int]:
    """Make ``times`` as many traces of those in the SQLite file, and yield how many copies of each there are."""
    with sqlite3.connect(database) as store:
        store.execute("PRAGMA synchronous = OFF")
        held = {table: _rows(store, table) for table in _TABLES}
        count = len(held["trace_info"][1])
        for copy in range(1, times):
            for table, (columns, rows) in held.items():
                places = {name: place for place, name in enumerate(columns)}
                key = places[_TABLES[table]]
                marks = ", ".join("?" * len(columns))
                store.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - names of this file
                    (_copied(row, row[key], places, copy, count) for row in rows),
                )
            store.commit()
            yield copy + 1


def _rows(store: sqlite3.Connection, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    columns = [row[1] for row in store.execute(f"PRAGMA table_xinfo({table})") if row[6] == 0]
    return columns, store.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608


def _copied(row: tuple[Any, ...], trace_id: str, places: dict[str, int], copy: int, count: int) -> tuple[Any, ...]:
    fresh = hashlib.sha256(f"{trace_id}/{copy}".encode()).digest()[:16]
    later_ms = copy * count * 864
    old64, new64 = (base64.b64encode(i).decode() for i in (bytes.fromhex(trace_id[3:]), fresh))
    values = [
        value.replace(trace_id, f"tr-{fresh.hex()}").replace(old64, new64).replace(" #", f" #{copy}-")
        if isinstance(value, str)
        else value
        for value in row
    ]
    for name, unit in (("timestamp_ms", 1), ("start_time_unix_nano", 1_000_000), ("end_time_unix_nano", 1_000_000)):
        if name in places:
            values[places[name]] += later_ms * unit
    return tuple(values)
