"""Traces of a tracking server as records: paged by time, read by several processes, written page by page.

The driver holds what MLflow knows of some pages of traces without their spans, whatever the store holds. A page is
asked for by the time that the one before it ended with, not by an offset: an offset is slower with each page, and moves
when new traces arrive.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain, islice
from queue import SimpleQueue

import mlflow
from mlflow.exceptions import MlflowException

from engine.config import TracesModel
from engine.errors import ConfigError, InputError
from engine.trace_pages import Cursor, PageFolder
from engine.trace_worker import Page, PageReader, PageReaderHere, PageReaderProcess, is_database
from udfs.trace_rows import TraceReading

log = logging.getLogger(__name__)

# The tracking server hands out at most so many traces a page.
PAGE = 500
# Pages that this process reads at once where it is not worth starting others: a server's answers overlap that way.
_THREADS = 4
# From so many pages on, processes are started: each takes some two seconds to import MLflow.
_PAGES_FOR_PROCESSES = 8
# Processes of one machine; a server is asked by no more than that, and a database's locks by no more either.
_MOST_PROCESSES = 8
_TELL_EVERY_S = 5.0


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
    try:
        pages = _pages(traces, _experiment_id(traces), cursor)
        first = list(islice(pages, _PAGES_FOR_PROCESSES))
        readers = _readers(reading, folder, many=len(first) == _PAGES_FOR_PROCESSES)
        try:
            seen = _read_all(chain(first, pages), readers, cursor.traces, tell)
        finally:
            for reader in readers:
                reader.close()
    except MlflowException as error:
        raise InputError(
            f"dataset.traces can't be read from MLflow at {mlflow.get_tracking_uri()}: {error.message}; check the "
            f"filter {traces.filter!r}, the run_id and the tracking URI"
        ) from error
    folder.finish()
    tell(f"{seen} traces read")
    return folder.left_out()


def _readers(reading: TraceReading, folder: PageFolder, *, many: bool) -> list[PageReader]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    in_memory = is_database() and (":memory:" in mlflow.get_tracking_uri() or mlflow.get_tracking_uri() == "sqlite://")
    if not many or cores == 1 or in_memory:
        return [PageReaderHere(reading, folder)] * _THREADS
    return [PageReaderProcess(reading, folder) for _ in range(min(cores, _MOST_PROCESSES))]


def _read_all(pages: Iterator[Page], readers: list[PageReader], before: int, tell: Callable[[str], None]) -> int:
    """Give each page to a reader that is free; return how many traces have been read in all."""
    free: SimpleQueue[PageReader] = SimpleQueue()
    for reader in readers:
        free.put(reader)

    def read(page: Page) -> int:
        reader = free.get()
        try:
            reader.read(page)
        finally:
            free.put(reader)
        return len(page.trace_ids)

    began = told = time.monotonic()
    seen = before
    running: set[Future[int]] = set()
    with ThreadPoolExecutor(len(readers), thread_name_prefix="promptmill-traces") as pool:
        try:
            while True:
                page = next(pages, None)
                if page is not None:
                    running.add(pool.submit(read, page))
                if not running:
                    return seen
                if page is None or len(running) > len(readers):
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    seen += sum(future.result() for future in ended)
                if time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    tell(f"{seen} traces read, {(seen - before) / (told - began):.0f}/s")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _pages(traces: TracesModel, experiment_id: str, start: Cursor) -> Iterator[Page]:
    """Yield pages of traces, newest first, each with where it ends; their spans have not been asked for yet."""
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
            yield Page.of(infos, cursor)
        if not found.token:
            return


def _filter(traces: TracesModel) -> str | None:
    if traces.filter:
        return traces.filter
    return None if "errors" in traces.include else "attributes.status = 'OK'"


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
