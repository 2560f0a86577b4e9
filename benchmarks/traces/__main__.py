"""What it costs to make rows of 100,000 traces: promptmill, MLflow's own paging, and the same rows in raw SQL.

    python -m benchmarks.traces STORE.db [TRACES]

Makes the store first where there is none: the first 5,000 traces through MLflow, the rest copied in SQL. CPU seconds
are of all processes together, so that they say something on a busy machine, too; the wall clock does not.
"""

from __future__ import annotations

import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow.store.entities.paged_list import PagedList

from benchmarks.traces import application, copies
from engine.config import TracesModel
from engine.storage import Storage
from engine.trace_pages import PageFolder
from engine.traces import read_traces
from udfs.trace_rows import TraceReading

_FIRST = 5_000
_EXPERIMENT = "application"


def make(database: Path, traces: int) -> None:
    """Make the store where there is none."""
    if database.exists():
        return
    small = database.with_suffix(".first.db")
    application.main(f"sqlite:///{small}", min(traces, _FIRST))
    shutil.copy(small, database)
    for times in copies.multiply(str(database), -(-traces // _FIRST)):
        print(f"{times * _FIRST} traces written", flush=True)


def raw_sql(database: Path, traces: int) -> int:
    """Read the same spans, tags and traces with nothing but SQLite, and throw them away."""
    with sqlite3.connect(database) as store:
        ids = "SELECT request_id FROM trace_info ORDER BY timestamp_ms DESC LIMIT ?"
        spans = store.execute(f"SELECT content FROM spans WHERE trace_id IN ({ids})", (traces,))  # noqa: S608 - ours
        return sum(1 for _ in spans)


def promptmill(database: Path, traces: int) -> int:
    """Make rows of the traces: the prompt is in the second span, its two variables are read out of its messages."""
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    with tempfile.TemporaryDirectory() as folder:
        pages = PageFolder(Storage.at(folder, folder), "benchmark")
        reading = TraceReading(frozenset({"text", "company"}), "sort", (("", application.TEMPLATE),))
        settings = TracesModel(experiment=_EXPERIMENT, max_traces=traces)
        left_out = read_traces(settings, reading, pages, tell=lambda line: print(line, flush=True))
    return traces - sum(left_out.values())


def mlflow_pages(database: Path, traces: int) -> int:
    """MLflow's own paging, spans and all, without making anything of them."""
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    client, token, seen = mlflow.MlflowClient(), None, 0
    experiment = mlflow.get_experiment_by_name(_EXPERIMENT).experiment_id
    while seen < traces:
        page: PagedList[Any] = client.search_traces(
            locations=[experiment], filter_string="attributes.status = 'OK'", max_results=500, page_token=token
        )
        seen, token = seen + len(page), page.token
        if not token:
            break
    return seen


def measure(name: str, read: Callable[[Path, int], int], database: Path, traces: int) -> None:
    """Print a line of the table."""
    before, began = _cpu_s(), time.monotonic()
    found = read(database, traces)
    wall, cpu = time.monotonic() - began, _cpu_s() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rates = f"{wall:.0f} s | {traces / wall:.0f}/s | {1000 * cpu / traces:.2f} ms"
    print(f"| {name} | {found} | {rates} | {peak:.0f} MB |", flush=True)


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Make the store, read it three ways."""
    database, traces = Path(sys.argv[1]).absolute(), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    make(database, traces)
    print("| | read | wall | traces | CPU a trace | driver's peak |\n|---|---|---|---|---|---|", flush=True)
    for name, read in (("raw SQL", raw_sql), ("promptmill", promptmill), ("MLflow's own paging", mlflow_pages)):
        if not sys.argv[3:] or name in sys.argv[3:]:
            measure(name, read, database, traces)


if __name__ == "__main__":
    main()
