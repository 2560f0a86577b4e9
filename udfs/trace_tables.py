"""Rows of tables that hold traces, or a serving endpoint's requests, as traces; runs on executors.

Three shapes: a line a trace with all its spans (Databricks' unified view and its archive of traces), a line a span
(OpenTelemetry's tables in Unity Catalog), and a line a request (inference tables).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pandas as pd

from udfs.records import BY_PERSON, RECORDED_MS
from udfs.trace_rows import TraceReading
from udfs.traced import Trace, TracedSpan
from udfs.well_formed import well_formed

READ_DDL = (
    "inputs string, expectations string, weight string, slices string, trace_id string, "
    f"{BY_PERSON} bigint, {RECORDED_MS} bigint, reason string"
)
_COLUMNS = [column.split()[0] for column in READ_DDL.split(", ")]
_OK = 200


def whole_trace(line: Mapping[str, Any]) -> Trace:
    """Make a trace of ``info``, its columns as JSON text, and ``spans``, a JSON list or an object that holds one."""
    info, spans = json.loads(line["info"]), json.loads(line["spans"] or "[]")
    if isinstance(spans, Mapping):
        spans = spans.get("spans") or []
    made = [json.loads(span) if isinstance(span, str) else span for span in spans]
    return Trace.of(info, sorted(made, key=_began))


def request_trace(line: Mapping[str, Any]) -> Trace:
    """Make a trace of one request to a serving endpoint: of the agent's own trace where the response holds it.

    A request that names inputs (``inputs``, ``dataframe_records``) counts as a call with those.
    """
    request, response = _loaded(line["request"]), _loaded(line["response"])
    time_ms = None if pd.isna(line["time_ms"]) else int(line["time_ms"])
    status = line["status_code"]
    failed = not pd.isna(status) and int(status) != _OK
    held = response.get("databricks_output") if isinstance(response, Mapping) else None
    trace = held.get("trace") if isinstance(held, Mapping) else None
    if isinstance(trace, Mapping) and isinstance(trace.get("data"), Mapping) and trace["data"].get("spans"):
        return Trace.of(trace.get("info") or {"trace_id": line["id"]}, trace["data"]["spans"])
    attributes = {
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.spanInputs": _named_inputs(request),
        "mlflow.spanOutputs": _one_prediction(response),
    }
    return Trace(str(line["id"] or ""), (TracedSpan("0", attributes=attributes),), failed=failed, time_ms=time_ms)


def trace_reader(
    reading: TraceReading, make: Callable[[Mapping[str, Any]], Trace]
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """Return the body of a ``mapInPandas`` that reads traces: a line a record, or a line with the ``reason``."""

    def read(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            found: list[dict[str, Any]] = []
            for line in cast("list[Mapping[str, Any]]", batch.to_dict("records")):
                try:
                    records, reason = reading.records(make(line))
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    # One line that is no trace must not end a job over a million.
                    records, reason = [], f"no trace that can be read ({type(error).__name__})"
                found.extend(records or [{"reason": reason}])
            yield _frame(found)

    return read


def _frame(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The lines as objects: pandas' own types for text and for missing numbers come to Arrow in more than one piece."""

    def cell(value: Any) -> Any:
        return well_formed(value) if isinstance(value, str) else value

    columns = {name: pd.Series([cell(line.get(name)) for line in found], dtype=object) for name in _COLUMNS}
    return pd.DataFrame(columns)


def _named_inputs(request: Any) -> Any:
    if not isinstance(request, Mapping):
        return request
    for key in ("inputs", "dataframe_records", "instances"):
        held = request.get(key)
        one = held[0] if isinstance(held, list) and len(held) == 1 else held
        if isinstance(one, Mapping):
            return one
    return request


def _one_prediction(response: Any) -> Any:
    held = response.get("predictions") if isinstance(response, Mapping) else None
    return held[0] if isinstance(held, list) and len(held) == 1 else response


def _loaded(text: Any) -> Any:
    """The body of a request or a response; of a stream of events the list of its parts."""
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except ValueError:
        lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        parts = [_loaded(line) for line in lines if line.startswith("{")]
        return parts or text


def _began(span: Mapping[str, Any]) -> tuple[int, int]:
    parent = span.get("parent_span_id") or span.get("parent_id")
    began = span.get("start_time_unix_nano") or span.get("start_time") or 0
    return (int(bool(parent)), int(began) if isinstance(began, int | float) else 0)
