"""Reading a page of traces, here or in a process of its own.

What a page costs is mostly Python parsing what MLflow kept, so threads don't help on a database; processes do. They are
started as ``python -m engine.trace_worker``, never forked from a driver that has a JVM and threads, and never by
importing a user's script again, as ``multiprocessing`` would. They are told what to read line by line, and end with
their standard input.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlflow
from mlflow.exceptions import MlflowException

from engine.trace_pages import Cursor, PageFolder
from udfs.trace_rows import TraceReading
from udfs.traced import Trace

log = logging.getLogger(__name__)

# Where MLflow says that spans are in the tracking store itself.
_LOCATION_TAG, _IN_STORE = "mlflow.trace.spansLocation", "TRACKING_STORE"
_IDS_A_LINE = 50


@dataclass(frozen=True)
class Page:
    """The traces of a page and where it ends; ``in_store`` are those whose spans few queries can bring."""

    trace_ids: tuple[str, ...]
    in_store: tuple[str, ...]
    end: Cursor

    @classmethod
    def of(cls, infos: Sequence[Any], end: Cursor) -> Page:
        """Make a page of what a search without spans gives."""
        direct = [info.trace_id for info in infos if info.tags.get(_LOCATION_TAG) == _IN_STORE]
        return cls(tuple(info.trace_id for info in infos), tuple(direct if _a_query() else ()), end)


class PageReader(Protocol):
    """Reads pages, one at a time."""

    def read(self, page: Page) -> None:
        """Write the page's records to the folder.

        Raises:
            MlflowException: the tracking server refuses.
            OSError: the storage does.
        """

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class PageReaderHere:
    """Reads pages in this process."""

    reading: TraceReading
    folder: PageFolder

    def read(self, page: Page) -> None:
        """See :class:`PageReader`."""
        records: list[dict[str, Any]] = []
        left_out: Counter[str] = Counter()
        found = _with_spans(page)
        for one in found:
            made, reason = self.reading.records(_plain(one))
            records.extend(made)
            if reason:
                left_out[reason] += 1
        if len(page.trace_ids) > len(found):
            left_out["spans that are not there (yet)"] += len(page.trace_ids) - len(found)
        self.folder.write(page.end, records, left_out)

    def close(self) -> None:
        """See :class:`PageReader`."""


class PageReaderProcess:
    """Reads pages in a process of its own, which has this process's environment and tracking URI."""

    def __init__(self, reading: TraceReading, folder: PageFolder) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._told = base64.b64encode(pickle.dumps((mlflow.get_tracking_uri(), reading, folder))).decode()

    def read(self, page: Page) -> None:
        """See :class:`PageReader`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("the process was started with pipes")
        told, self._told = self._told, ""
        line = base64.b64encode(pickle.dumps(page)).decode()
        try:
            stdin.write((f"{told}\n" if told else "") + f"{line}\n")
            stdin.flush()
            answer = stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise MlflowException(f"the process that read traces ended (exit code {self._process.poll()})")
        error = json.loads(answer)["error"]
        if error:
            raise MlflowException(error)

    def close(self) -> None:
        """See :class:`PageReader`."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def is_database() -> bool:
    """True where MLflow reads the store's database from this machine itself."""
    return mlflow.get_tracking_uri().split(":", 1)[0].split("+", 1)[0] in {"sqlite", "mysql", "postgresql", "mssql"}


def _a_query() -> int | None:
    """How many traces are asked for at once; ``None`` where it must be left to MLflow, which asks for ten.

    Ten is the limit of Databricks. A database has none, and an MLflow server that of a line of HTTP (4,094 bytes with
    gunicorn), since the ids stand in the query.
    """
    if is_database():
        return sys.maxsize
    return _IDS_A_LINE if mlflow.get_tracking_uri().startswith(("http://", "https://")) else None


def _with_spans(page: Page) -> list[Any]:
    """Fetch the spans of a page, in as few queries as the store takes."""
    from mlflow.tracing.client import TracingClient

    client = TracingClient()
    batch_get = getattr(client, "batch_get_traces", None)
    if batch_get is None:  # an older MLflow
        return [mlflow.MlflowClient().get_trace(trace_id) for trace_id in page.trace_ids]
    known = frozenset(page.in_store)
    others = [trace_id for trace_id in page.trace_ids if trace_id not in known]
    found: list[Any] = list(batch_get(others)) if others else []
    a_query = min(_a_query() or 1, len(known) or 1)
    for start in range(0, len(page.in_store), a_query):
        found += client.store.batch_get_traces(list(page.in_store[start : start + a_query]), None)
    return found


def _plain(trace: Any) -> Trace:
    info = trace.info
    known = {
        "trace_id": info.trace_id,
        "state": str(getattr(info.state, "value", info.state)),
        "request_time": info.request_time,
        "tags": info.tags,
        "trace_metadata": info.trace_metadata,
        "assessments": [one.to_dictionary() for one in info.assessments or []],
    }
    # As dicts: MLflow builds OpenTelemetry's objects only for who asks for a span's properties, at ten times the cost.
    return Trace.of(known, trace.data.to_dict()["spans"])


def _work() -> None:
    """Read pages as they are told on standard input, and answer each with a line."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    uri, reading, folder = pickle.loads(base64.b64decode(sys.stdin.readline()))  # noqa: S301 - from our own parent
    mlflow.set_tracking_uri(uri)
    reader = PageReaderHere(reading, folder)
    for line in sys.stdin:
        error = ""
        try:
            reader.read(pickle.loads(base64.b64decode(line)))  # noqa: S301 - from our own parent
        except MlflowException as refused:
            error = str(refused.message)
        except Exception as failed:
            error = f"{type(failed).__name__}: {failed}"
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _work()
