"""Where rows come from: an MLflow data set, traces, a table, files, or records in the configuration."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.config import DatasetModel, TracesModel
from engine.errors import ConfigError, InputError
from engine.rows import defects, rows_from_frame, rows_from_records
from engine.storage import Storage

log = logging.getLogger(__name__)

_FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".delta": "delta"}
# The tracking server hands out at most so many traces a page.
_PAGE = 500
_TRACES_SCHEMA = pa.schema([("inputs", pa.string()), ("outputs", pa.string()), ("trace_id", pa.string())])


def load_rows(spark: SparkSession, dataset: DatasetModel, storage: Storage, variables: frozenset[str]) -> DataFrame:
    """Return the data set's rows (see :mod:`engine.rows`), written to ``storage`` once and read back.

    ``variables`` are the template's: every row must have them all, which is checked here, before the first call.

    Raises:
        InputError: the source can't be read, or its rows lack inputs or a template's variable.
    """
    rows = storage.keep(spark, _rows(spark, dataset, storage), "rows")
    broken = defects(rows)
    if broken:
        log.warning("%s: records without usable inputs are left out, such as one that %s", describe(dataset), broken[0])
        rows = rows.where(F.col("inputs").isNotNull())
    _check_variables(rows, variables, describe(dataset))
    return rows


def describe(dataset: DatasetModel) -> str:
    """Name the source, for messages.

    >>> describe(DatasetModel(table="main.sales.traces"))
    'table main.sales.traces'
    """
    if dataset.table:
        return f"table {dataset.table}"
    if dataset.path:
        return f"path {dataset.path}"
    if dataset.traces:
        return f"traces of {dataset.traces.run_id or dataset.traces.experiment or 'the default experiment'}"
    if dataset.data is not None:
        return "dataset.data"
    return f"data set {dataset.name}"


def _rows(spark: SparkSession, dataset: DatasetModel, storage: Storage) -> DataFrame:
    if dataset.data is not None:
        return rows_from_records(spark, dataset.data)
    if dataset.table:
        return rows_from_frame(spark.table(dataset.table))
    if dataset.path:
        return rows_from_frame(read_path(spark, dataset.path))
    if dataset.traces:
        return rows_from_frame(_traces(spark, dataset.traces, storage))
    return rows_from_records(spark, _mlflow_dataset(str(dataset.name)))


def read_path(spark: SparkSession, path: str) -> DataFrame:
    """Read files through Spark, by the path's ending; a folder without one is read as Parquet.

    Raises:
        InputError: nothing is there, or it can't be read.
    """
    from pyspark.errors import PySparkException

    kind = _FORMATS.get(Path(path.rstrip("/")).suffix.lower(), "parquet")
    reader = spark.read.option("header", "true").option("multiLine", "true") if kind == "csv" else spark.read
    try:
        frame = reader.format(kind).load(str(Path(path).absolute()) if "://" not in path else path)
        frame.limit(1).collect()  # files that are no Parquet show only when they are read
    except PySparkException as error:
        raise InputError(f"path {path} can't be read as {kind}: {str(error).splitlines()[0]}") from error
    return frame


def _mlflow_dataset(name: str) -> Iterator[Mapping[str, Any]]:
    from mlflow.exceptions import MlflowException
    from mlflow.genai import datasets

    try:
        found = datasets.get_dataset(name=name)
    except MlflowException as error:
        raise InputError(
            f"dataset_name {name!r}: MLflow at {mlflow.get_tracking_uri()} has no such evaluation data set "
            f"({error.message}); check the name, or make it with `promptmill collect`"
        ) from error
    for record in found.to_df().to_dict("records"):
        tags = record.get("tags") or {}
        yield {
            "inputs": record["inputs"],
            "expectations": record.get("expectations") or None,
            "outputs": record.get("outputs"),
            "slices": {k: v for k, v in tags.items() if not k.startswith("mlflow.")},
            "weight": tags.get("promptmill.weight") or 1,
            "trace_id": ((record.get("source") or {}).get("source_data") or {}).get("trace_id")
            if isinstance(record.get("source"), dict)
            else None,
        }


def _traces(spark: SparkSession, traces: TracesModel, storage: Storage) -> DataFrame:
    """Page through the tracking server and write each page to storage as it comes; Spark reads what was written."""
    folder = storage.folder(f"traces-{uuid.uuid4().hex[:8]}")
    filesystem, path = storage.filesystem(folder)
    filesystem.create_dir(path, recursive=True)
    total = 0
    for number, page in enumerate(_trace_pages(traces)):
        pq.write_table(
            pa.Table.from_pylist(page, schema=_TRACES_SCHEMA), f"{path}/{number:06d}.parquet", filesystem=filesystem
        )
        total += len(page)
        log.info("%d traces read", total)
    if not total:
        raise InputError(
            f"no traces with inputs and outputs were found in experiment {traces.experiment!r}"
            f"{f', filter {traces.filter!r}' if traces.filter else ''}; check the names and the tracking URI "
            f"({mlflow.get_tracking_uri()})"
        )
    return spark.read.parquet(folder)


def _trace_pages(traces: TracesModel) -> Iterator[Sequence[dict[str, Any]]]:
    client = mlflow.MlflowClient()
    experiment_id = _experiment_id(traces)
    token: str | None = None
    left = traces.max_traces
    while left is None or left > 0:
        page = client.search_traces(
            locations=[experiment_id],
            run_id=traces.run_id,
            filter_string=traces.filter or "attributes.status = 'OK'",
            max_results=min(_PAGE, left) if left else _PAGE,
            page_token=token,
            include_spans=True,
        )
        records = [record for trace in page if (record := _trace_record(trace)) is not None]
        if records:
            yield records
        if left is not None:
            left -= len(page)
        token = page.token
        if not token or not page:
            return


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


def _trace_record(trace: Any) -> dict[str, Any] | None:
    """Return a trace's root inputs and its answer as text; ``None`` for one that holds neither."""
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    if root is None or not isinstance(root.inputs, dict) or root.outputs is None:
        return None
    return {
        "inputs": json.dumps(root.inputs, default=str),
        "outputs": answer_text(root.outputs),
        "trace_id": trace.info.trace_id,
    }


def answer_text(outputs: Any) -> str:
    """Return the answer in a span's outputs: a text as it is, a chat completion's content, else JSON.

    >>> answer_text({"choices": [{"message": {"content": "hello"}}]})
    'hello'
    """
    if isinstance(outputs, str):
        return outputs
    try:
        return str(outputs["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        return json.dumps(outputs, ensure_ascii=False, default=str)


def _check_variables(rows: DataFrame, variables: frozenset[str], source: str) -> None:
    names = F.json_object_keys("inputs")
    for variable in sorted(variables):
        lacking = rows.where(~F.array_contains(names, variable)).select("inputs").limit(1).collect()
        if lacking:
            raise InputError(
                f"{source}: the template's variable {{{{{variable}}}}} is missing from the inputs of at least one row: "
                f"{lacking[0]['inputs'][:200]}; rename the variable or the input"
            )
