"""Traces of a tracking server as records: paged by time, read by several threads, written page by page.

The driver holds as many pages as it has threads, whatever the store holds. A page is asked for by the time that the
one before it ended with, not by an offset: an offset is slower with each page, and moves when new traces arrive.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from engine.config_sections import TracesModel
from engine.errors import ConfigError, InputError
from engine.trace_pages import Cursor, PageFolder
from udfs.trace_rows import TraceReading
from udfs.traced import Trace

log = logging.getLogger(__name__)

# The tracking server hands out at most so many traces a page.
PAGE = 500
# Pages that are read at once. What a store on this machine costs is Python's own time, which threads share; those of a
# server wait. SQLAlchemy's pool has 15 connections, and MLflow takes two for some calls.
_THREADS = 4
_TELL_EVERY_S = 5.0
# Where the spans are, in MLflow's words: in the tracking store itself.
_LOCATION_TAG, _IN_STORE = "mlflow.trace.spansLocation", "TRACKING_STORE"


def read_traces(
    traces: TracesModel, reading: TraceReading, folder: PageFolder, *, tell: Callable[[str], None] = log.info
) -> Counter[str]:
    """Write the records of the traces to ``folder``, page by page; return how many traces gave none, by reason.

    Pages that an interrupted call wrote are not read again. The newest traces come first, so that ``max_traces`` means
    those.

    Raises:
        InputError: the tracking server refuses the search.
        ConfigError: the settings name no experiment.
    """
    cursor = folder.resume()
    if cursor.done:
        return folder.left_out()
    experiment_id = _experiment_id(traces)
    began, told, before = time.monotonic(), time.monotonic(), cursor.traces
    pages = _pages(traces, experiment_id, cursor)
    running: dict[Future[None], int] = {}
    seen = before
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="promptmill-traces") as pool:
        try:
            while True:
                page = next(pages, None)
                if page is not None:
                    infos, after = page
                    running[pool.submit(_read_page, infos, reading, folder, after)] = len(infos)
                if not running:
                    break
                if page is None or len(running) > _THREADS:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        future.result()
                        seen += running.pop(future)
                if time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    tell(f"{seen} traces read, {(seen - before) / (told - began):.0f}/s")
        except MlflowException as error:
            raise InputError(
                f"dataset.traces can't be read from MLflow at {mlflow.get_tracking_uri()}: {error.message}; check the "
                f"filter {traces.filter!r}, the run_id and the tracking URI"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    folder.finish()
    tell(f"{seen} traces read")
    return folder.left_out()


def _pages(traces: TracesModel, experiment_id: str, start: Cursor) -> Iterator[tuple[list[Any], Cursor]]:
    """Yield pages of what MLflow knows of traces without their spans, newest first, and where each ends."""
    client = mlflow.MlflowClient()
    cursor, token = start, None
    while traces.max_traces is None or cursor.traces < traces.max_traces:
        until = f"attributes.timestamp_ms <= {cursor.until_ms}" if cursor.until_ms is not None else None
        found = client.search_traces(
            locations=[experiment_id],
            run_id=traces.run_id,
            filter_string=" AND ".join(filter(None, [_filter(traces), until])) or None,
            max_results=PAGE,
            order_by=["timestamp_ms DESC"],
            page_token=token,
            include_spans=False,
        )
        infos = [trace.info for trace in found if trace.info.trace_id not in cursor.at_until]
        if traces.max_traces is not None:
            infos = infos[: traces.max_traces - cursor.traces]
        token = found.token
        if infos:
            last = infos[-1].request_time
            if last != cursor.until_ms:
                token = None  # from here on the time says where to go on
            at_last = [info.trace_id for info in infos if info.request_time == last]
            known = cursor.at_until if last == cursor.until_ms else frozenset()
            cursor = Cursor(cursor.page + 1, cursor.traces + len(infos), last, known | frozenset(at_last))
            yield infos, cursor
        if not found.token:
            return


def _filter(traces: TracesModel) -> str | None:
    if traces.filter:
        return traces.filter
    return None if "errors" in traces.include else "attributes.status = 'OK'"


def _read_page(infos: Sequence[Any], reading: TraceReading, folder: PageFolder, cursor: Cursor) -> None:
    records: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    found = _with_spans(infos)
    for one in found:
        made, reason = reading.records(_plain(one))
        records.extend(made)
        if reason:
            left_out[reason] += 1
    if len(infos) > len(found):
        left_out["spans that are not there (yet)"] += len(infos) - len(found)
    folder.write(cursor, records, left_out)


def _with_spans(infos: Sequence[Any]) -> list[Any]:
    """Fetch the spans of a page: in one query where the store is a database that this process reads itself.

    MLflow's own search fetches ten traces a query, which is the limit of Databricks.
    """
    from mlflow.tracing.client import TracingClient

    client = TracingClient()
    batch_get = getattr(client, "batch_get_traces", None)
    if batch_get is None:  # an MLflow before 3.5
        return [mlflow.MlflowClient().get_trace(info.trace_id) for info in infos]
    direct = [info.trace_id for info in infos if info.tags.get(_LOCATION_TAG) == _IN_STORE]
    if not _is_database():
        direct = []
    others = [info.trace_id for info in infos if info.trace_id not in set(direct)]
    found = list(client.store.batch_get_traces(direct, None)) if direct else []
    return found + (list(batch_get(others)) if others else [])


def _is_database() -> bool:
    return mlflow.get_tracking_uri().split(":", 1)[0].split("+", 1)[0] in {"sqlite", "mysql", "postgresql", "mssql"}


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


def _experiment_id(traces: TracesModel) -> str:
    if traces.run_id and not traces.experiment:
        return str(mlflow.get_run(traces.run_id).info.experiment_id)
    if not traces.experiment:
        raise ConfigError("dataset.traces names neither an experiment nor a run_id; give one")
    found = mlflow.get_experiment_by_name(traces.experiment)
    if found is None:
        raise InputError(
            f"dataset.traces.experiment {traces.experiment!r} is not known to MLflow at {mlflow.get_tracking_uri()}; "
            "check the name"
        )
    return str(found.experiment_id)

