"""Tables of traces, and of a serving endpoint's requests, as records: read, matched and counted by Spark alone."""

from __future__ import annotations

from collections import Counter

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.config.datasets import TraceTableModel
from engine.errors import InputError
from udfs.trace_rows import TraceReading
from udfs.trace_tables import READ_DDL, request_trace, trace_reader, whole_trace

# What tables call the same thing: MLflow's trace tables, AI Gateway's inference tables and the older ones.
_INFO = (
    *("trace_id", "request_id", "state", "status", "request_time", "timestamp_ms", "tags"),
    *("trace_metadata", "request_metadata", "assessments"),
)
_SPAN = ("span_id", "parent_span_id", "parent_id", "name", "start_time_unix_nano", "status", "attributes")
_REQUEST_IDS = ("databricks_request_id", "request_id", "client_request_id")
_REQUEST_TIMES = ("request_time", "timestamp_ms", "event_time")


def read_trace_table(frame: DataFrame, settings: TraceTableModel, reading: TraceReading) -> DataFrame:
    """Return a line a record, or a line with the ``reason`` where a trace gives none; columns as in ``READ_DDL``.

    ``frame`` has a line a trace (with ``spans``) or a line a span (with ``span_id`` and ``attributes``).

    Raises:
        InputError: it is neither.
    """
    frame = _filtered(frame, settings)
    names = frame.columns
    if "spans" in names:
        info, began = [name for name in _INFO if name in names], _time_ms(frame, ("request_time", "timestamp_ms"))
        lines = frame.select(_json(info).alias("info"), _text(frame, "spans").alias("spans"), began)
    elif {"trace_id", "span_id", "attributes"} <= set(names):
        span = [name for name in _SPAN if name in names]
        began = F.col("start_time_unix_nano") if "start_time_unix_nano" in names else F.lit(0)
        spans = frame.select("trace_id", _json(span).alias("span"), began.alias("began"))
        grouped = spans.groupBy("trace_id").agg(
            F.to_json(F.collect_list("span")).alias("spans"), (F.min("began") / 1_000_000).cast("bigint").alias("time")
        )
        told = F.to_json(F.struct("trace_id", F.col("time").alias("request_time")))
        lines = grouped.select(told.alias("info"), "spans", F.col("time").alias("time_ms"))
    else:
        raise InputError(
            f"dataset.trace_table {settings.name}: it has neither spans nor span_id and attributes; its columns are "
            f"{', '.join(names)}; for a serving endpoint's payload table use inference_table"
        )
    lines = _newest(lines, settings)
    return lines.select("info", "spans").mapInPandas(trace_reader(reading, whole_trace), READ_DDL)


def read_inference_table(frame: DataFrame, settings: TraceTableModel, reading: TraceReading) -> DataFrame:
    """Return a line a record, or a line with the ``reason``, of a serving endpoint's requests and responses.

    Raises:
        InputError: the table has no requests and responses.
    """
    frame = _filtered(frame, settings)
    if not {"request", "response"} <= set(frame.columns):
        raise InputError(
            f"dataset.inference_table {settings.name}: it has no columns request and response; its columns are "
            f"{', '.join(frame.columns)}; for a table of traces use trace_table"
        )
    ids = [F.col(name).cast("string") for name in _REQUEST_IDS if name in frame.columns]
    lines = frame.select(
        (F.coalesce(*ids) if ids else F.lit(None).cast("string")).alias("id"),
        _text(frame, "request").alias("request"),
        _text(frame, "response").alias("response"),
        (F.col("status_code").cast("int") if "status_code" in frame.columns else F.lit(None)).alias("status_code"),
        _time_ms(frame, _REQUEST_TIMES),
    )
    return _newest(lines, settings).mapInPandas(trace_reader(reading, request_trace), READ_DDL)


def left_out(read: DataFrame) -> Counter[str]:
    """How many traces gave no record, by reason."""
    lines = read.where(F.col("reason").isNotNull()).groupBy("reason").count().collect()
    return Counter({str(line["reason"]): int(line["count"]) for line in lines})


def _filtered(frame: DataFrame, settings: TraceTableModel) -> DataFrame:
    from pyspark.errors import PySparkException

    if not settings.filter:
        return frame
    try:
        found = frame.where(settings.filter)
        found.schema  # noqa: B018 - with Spark Connect a column that is not there shows only now
    except PySparkException as error:
        raise InputError(
            f"{settings.name}: the filter {settings.filter!r} can't be used: {str(error).splitlines()[0]}; give a "
            f"condition in SQL over {', '.join(frame.columns)}"
        ) from error
    return found


def _newest(lines: DataFrame, settings: TraceTableModel) -> DataFrame:
    if settings.max_traces is None:
        return lines
    return lines.orderBy(F.col("time_ms").desc()).limit(settings.max_traces)


def _time_ms(frame: DataFrame, names: tuple[str, ...]) -> Column:
    name = next((name for name in names if name in frame.columns), None)
    if name is None:
        return F.lit(None).cast("bigint").alias("time_ms")
    kind = dict(frame.select(name).dtypes)[name]
    found = F.unix_millis(name) if kind.startswith("timestamp") else F.col(name).cast("bigint")
    return found.alias("time_ms")


def _json(names: list[str]) -> Column:
    return F.to_json(F.struct(*[F.col(f"`{name}`") for name in names]))


def _text(frame: DataFrame, name: str) -> Column:
    kind = dict(frame.select(name).dtypes)[name]
    return F.col(name) if kind == "string" else F.to_json(F.col(name))
