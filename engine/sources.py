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
from mlflow.exceptions import MlflowException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.config import DatasetModel, TracesModel
from engine.errors import ConfigError, InputError
from engine.rows import defects, rows_from_frame, rows_from_records
from engine.storage import Storage, spark_path
from udfs.conversation import MESSAGES
from udfs.files import filesystem_of

log = logging.getLogger(__name__)

_FORMATS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".delta": "delta",
}
# The tracking server hands out at most so many traces a page.
_PAGE = 500
_TRACES_SCHEMA = pa.schema(
    [
        ("inputs", pa.string()),
        ("expectations", pa.string()),
        ("weight", pa.int64()),
        ("slices", pa.string()),
        ("trace_id", pa.string()),
    ]
)
# A tag of a data set's record or of a trace: how many recorded inputs it stands for. `promptmill collect` writes it.
WEIGHT_TAG = "promptmill.weight"


def load_rows(spark: SparkSession, dataset: DatasetModel, storage: Storage, variables: frozenset[str]) -> DataFrame:
    """Return the data set's rows (see :mod:`engine.rows`), written to ``storage`` once and read back.

    ``variables`` are the template's: every row must have them all, which is checked here, before the first call.

    Raises:
        InputError: the source can't be read, or its rows lack inputs or a template's variable.
    """
    return usable_rows(read_rows(spark, dataset, storage), variables, source=describe(dataset))


def read_rows(spark: SparkSession, dataset: DatasetModel, storage: Storage) -> DataFrame:
    """Return the data set's rows as they are, written to ``storage`` once and read back.

    Raises:
        InputError: the source can't be read.
    """
    return storage.keep(spark, _rows(spark, dataset, storage), "rows")


def keep_rows(
    spark: SparkSession, rows: DataFrame, storage: Storage, variables: frozenset[str], *, source: str
) -> DataFrame:
    """Write rows to ``storage`` once and return the usable ones as read back; ``source`` is named in messages.

    Raises:
        InputError: rows lack a template's variable.
    """
    return usable_rows(storage.keep(spark, rows, "rows"), variables, source=source)


def usable_rows(rows: DataFrame, variables: frozenset[str], *, source: str) -> DataFrame:
    """Return the rows that have inputs; ``source`` is named in messages.

    Raises:
        InputError: rows lack a template's variable.
    """
    broken = defects(rows)
    if broken:
        log.warning("%s: records without usable inputs are left out, such as one that %s", source, broken[0])
        rows = rows.where(F.col("inputs").isNotNull())
    _check_variables(rows, variables, source)
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
        return rows_from_frame(_table(spark, dataset.table))
    if dataset.path:
        return rows_from_frame(read_path(spark, dataset.path))
    if dataset.traces:
        return rows_from_frame(_traces(spark, dataset.traces, storage))
    return rows_from_records(spark, _mlflow_dataset(str(dataset.name)))


def _table(spark: SparkSession, name: str) -> DataFrame:
    from pyspark.errors import PySparkException

    try:
        frame = spark.table(name)
        frame.limit(1).collect()  # with Spark Connect a table that is not there shows only now
    except PySparkException as error:
        raise InputError(
            f"table {name} can't be read: {str(error).splitlines()[0]}; check its name and rights"
        ) from error
    return frame


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

    from mlflow.genai import datasets

    try:
        found = datasets.get_dataset(name=name)
    except MlflowException as error:
        raise InputError(
            f"dataset_name {name!r}: MLflow at {mlflow.get_tracking_uri()} has no such evaluation data set "
            f"({error.message}); check the name, or make it with `promptmill collect`"
        ) from error
    for record in found.to_df().to_dict("records"):
        tags = _mapping(record.get("tags"))
        # A record that was made without outputs has {} there: no answer of anybody's.
        answered = {"expected_response": _expected(record["outputs"])} if _holds(record.get("outputs")) else None
        yield {
            "inputs": record["inputs"],
            "expectations": _mapping(record.get("expectations")) or answered,
            "slices": _slices(tags),
            "weight": tags.get(WEIGHT_TAG) or 1,
            "trace_id": _source_data(record.get("source")).get("trace_id"),
        }


def _mapping(value: Any) -> Mapping[str, Any]:
    """The mapping, or an empty one: a cell of a pandas frame that nothing stands in may be None or NaN."""
    return value if isinstance(value, Mapping) else {}


def _holds(outputs: Any) -> bool:
    return isinstance(outputs, str) or (isinstance(outputs, Mapping | list) and bool(outputs))


def _source_data(source: Any) -> Mapping[str, Any]:
    """What a record says about where it comes from: MLflow hands out an object here, Databricks a dict."""
    return _mapping(source.get("source_data") if isinstance(source, Mapping) else getattr(source, "source_data", None))


def _slices(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags to report by: all but those of the tools'."""
    return {key: str(value) for key, value in tags.items() if not key.startswith(("mlflow.", "promptmill."))}


def _traces(spark: SparkSession, traces: TracesModel, storage: Storage) -> DataFrame:
    """Page through the tracking server and write each page to storage as it comes; Spark reads what was written."""
    folder = storage.folder(f"traces-{uuid.uuid4().hex[:8]}")
    filesystem, path = filesystem_of(folder)
    filesystem.create_dir(path, recursive=True)
    total = unusable = 0
    for number, (page, skipped) in enumerate(_trace_pages(traces)):
        table = pa.Table.from_pylist(page, schema=_TRACES_SCHEMA)
        pq.write_table(table, f"{path}/{number:06d}.parquet", filesystem=filesystem)
        total += len(page)
        unusable += skipped
        log.info("%d traces read", total)
    if unusable:
        log.warning(
            "%d of %d traces are left out: their root span has no inputs by name, or no outputs",
            unusable,
            total + unusable,
        )
    if not total:
        raise InputError(
            f"no traces with inputs and outputs were found in experiment {traces.experiment!r}"
            f"{f', filter {traces.filter!r}' if traces.filter else ''}; check the names and the tracking URI "
            f"({mlflow.get_tracking_uri()})"
        )
    return spark.read.parquet(spark_path(folder))


def _trace_pages(traces: TracesModel) -> Iterator[tuple[Sequence[dict[str, Any]], int]]:
    """Yield each page's records, and how many of its traces are none."""
    client = mlflow.MlflowClient()
    experiment_id = _experiment_id(traces)
    token: str | None = None
    left = traces.max_traces
    while left is None or left > 0:
        try:
            page = client.search_traces(
                locations=[experiment_id],
                run_id=traces.run_id,
                filter_string=traces.filter or "attributes.status = 'OK'",
                max_results=min(_PAGE, left) if left else _PAGE,
                page_token=token,
                include_spans=True,
            )
        except MlflowException as error:
            raise InputError(
                f"dataset.traces can't be read from MLflow at {mlflow.get_tracking_uri()}: {error.message}; check the "
                f"filter {traces.filter!r}, the run_id and the tracking URI"
            ) from error
        records = [record for trace in page if (record := _trace_record(trace)) is not None]
        yield records, len(page) - len(records)
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
    """Return a trace's root inputs, its answer as what is expected, and its tags; ``None`` where one is lacking."""
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    if root is None or not isinstance(root.inputs, dict) or root.outputs is None:
        return None
    return {
        "inputs": json.dumps(root.inputs, default=str),
        # Not as `outputs`: a text there that happens to be JSON ("1.0", "null") would be parsed.
        "expectations": json.dumps({"expected_response": _expected(root.outputs)}, default=str),
        "weight": int(trace.info.tags.get(WEIGHT_TAG) or 1),
        "slices": json.dumps(_slices(trace.info.tags)),
        "trace_id": trace.info.trace_id,
    }


def _expected(outputs: Any) -> Any:
    """Return the answer in a span's outputs: a text as it is, a chat completion's content, else the object.

    >>> _expected({"choices": [{"message": {"content": "hello"}}]})
    'hello'
    """
    if isinstance(outputs, str):
        return outputs
    try:
        return str(outputs["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        return outputs


def _check_variables(rows: DataFrame, variables: frozenset[str], source: str) -> None:
    if not variables:
        return
    names = F.json_object_keys("inputs")
    missing = F.array_except(F.array(*[F.lit(variable) for variable in sorted(variables)]), names)
    # One that is missing takes the last user message of a row that is a conversation.
    allowed = F.when(F.array_contains(names, MESSAGES), 1).otherwise(0)
    found = rows.select("inputs", missing.alias("missing")).where(F.size("missing") > allowed).limit(1).collect()
    if not found:
        return
    if variables == {MESSAGES}:
        raise InputError(
            f"{source}: the prompt has no variable such as {{{{text}}}}, and a row has no messages, so every such row "
            f"would ask the same: {found[0]['inputs'][:200]}; add the variables of the data set's inputs"
        )
    raise InputError(
        f"{source}: the template's variable {{{{{found[0]['missing'][0]}}}}} is missing from the inputs of at least "
        f"one row: {found[0]['inputs'][:200]}; rename the variable or the input"
    )
