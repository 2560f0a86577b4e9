"""Where rows come from: an MLflow data set, traces, a table, files, or records in the configuration."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.config import DatasetModel, TracesModel
from engine.errors import InputError
from engine.registry import is_databricks
from engine.rows import ROWS_DDL, defects, rows_from_frame, rows_from_records
from engine.storage import Storage, spark_path
from engine.trace_pages import RECORDS_DDL, PageFolder
from engine.trace_reading import identity_of, told, trace_reading
from engine.trace_tables import left_out as count_left_out
from engine.trace_tables import read_inference_table, read_trace_table
from engine.traces import read_traces
from udfs.conversation import MESSAGES
from udfs.prompt import Prompt
from udfs.trace_rows import WEIGHT_TAG, expected_of, slices_of

log = logging.getLogger(__name__)

_FORMATS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".delta": "delta",
}
# The name that rows are kept under.
ROWS = "rows"
# Parts of a name in Unity Catalog: catalog, schema, table.
_LEVELS = 3
# Kinds of columns that an evaluation data set's table may have its inputs in, and that say what they hold.
_OBJECTS = ("string", "struct<", "variant")


# What is searched for in traces: a prompt, its registered name, its variables.
Wanted = tuple[Prompt | None, str, frozenset[str]]


def load_rows(
    spark: SparkSession,
    dataset: DatasetModel,
    storage: Storage,
    variables: frozenset[str],
    *,
    prompt: Prompt | None = None,
    prompt_name: str = "",
    tell: Callable[[str], None] = log.info,
) -> DataFrame:
    """Return the data set's rows (see :mod:`engine.rows`), written to ``storage`` once and read back.

    ``variables`` are the template's: every row must have them all, which is checked here, before the first call.
    ``prompt`` and its registered name are what traces are searched for; without them, only root spans count.

    Raises:
        InputError: the source can't be read, or its rows lack inputs or a template's variable.
    """
    rows = read_rows(spark, dataset, storage, (prompt, prompt_name, variables), tell=tell)
    return usable_rows(rows, variables, source=describe(dataset))


def read_rows(
    spark: SparkSession,
    dataset: DatasetModel,
    storage: Storage,
    wanted: Wanted = (None, "", frozenset()),
    *,
    tell: Callable[[str], None] = log.info,
) -> DataFrame:
    """Return the data set's rows as they are, written to ``storage`` once and read back.

    ``wanted`` is what traces are searched for: a prompt, its registered name, and its variables.

    Raises:
        InputError: the source can't be read.
    """
    if storage.has(ROWS):
        rows = spark.createDataFrame([], ROWS_DDL)  # what was kept is read in its place
    elif is_traced(dataset):
        rows = _traced(spark, dataset, storage, wanted, tell)
    else:
        rows = _rows(spark, dataset)
    return storage.keep(spark, rows, ROWS)


def is_traced(dataset: DatasetModel) -> bool:
    """Say whether the rows are found in traces, and so are not the same for every prompt."""
    return bool(dataset.traces or dataset.trace_table or dataset.inference_table)


def keep_rows(
    spark: SparkSession, rows: DataFrame, storage: Storage, variables: frozenset[str], *, source: str
) -> DataFrame:
    """Write rows to ``storage`` once and return the usable ones as read back; ``source`` is named in messages.

    Raises:
        InputError: rows lack a template's variable.
    """
    return usable_rows(storage.keep(spark, rows, ROWS), variables, source=source)


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
    if dataset.trace_table or dataset.inference_table:
        return f"table {(dataset.trace_table or dataset.inference_table).name}"  # type: ignore[union-attr]
    if dataset.data is not None:
        return "dataset.data"
    return f"data set {dataset.name}"


def _rows(spark: SparkSession, dataset: DatasetModel) -> DataFrame:
    if dataset.data is not None:
        return rows_from_records(spark, dataset.data)
    if dataset.table:
        return rows_from_frame(_table(spark, dataset.table))
    if dataset.path:
        return rows_from_frame(read_path(spark, dataset.path))
    name = str(dataset.name)
    table = _dataset_table(spark, name)
    return rows_from_frame(table) if table is not None else rows_from_records(spark, _mlflow_dataset(name))


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
        answered = {"expected_response": expected_of(record["outputs"])} if _holds(record.get("outputs")) else None
        yield {
            "inputs": record["inputs"],
            "expectations": _mapping(record.get("expectations")) or answered,
            "slices": slices_of(tags),
            "weight": tags.get(WEIGHT_TAG) or 1,
            "trace_id": _source_data(record.get("source")).get("trace_id"),
        }


def _dataset_table(spark: SparkSession, name: str) -> DataFrame | None:
    """The table behind an evaluation data set of Unity Catalog; ``None`` where MLflow must be asked for its records.

    Its records would come through the driver otherwise. A column of inputs that does not say what it holds (a map of
    texts, which may or may not be JSON) is left to MLflow.
    """
    if not is_databricks(mlflow.get_tracking_uri()) or name.count(".") != _LEVELS - 1:
        return None
    try:
        frame = _table(spark, name)
    except InputError:
        log.info("the table of the data set %s can't be read by Spark; MLflow is asked for its records", name)
        return None
    kinds = dict(frame.dtypes)
    if not kinds.get("inputs", "").startswith(_OBJECTS):
        return None
    found: dict[str, Column] = {
        key: F.col(key) for key in ("inputs", "expectations", "outputs", "trace_id") if key in kinds
    }
    if kinds.get("tags", "").startswith("map<string"):
        ours = F.map_filter("tags", lambda key, _: ~key.startswith("mlflow.") & ~key.startswith("promptmill."))
        found |= {"slices": ours, "weight": F.col("tags").getItem(WEIGHT_TAG).cast("string")}
    return frame.select(*[column.alias(key) for key, column in found.items()])


def _mapping(value: Any) -> Mapping[str, Any]:
    """The mapping, or an empty one: a cell of a pandas frame that nothing stands in may be None or NaN."""
    return value if isinstance(value, Mapping) else {}


def _holds(outputs: Any) -> bool:
    return isinstance(outputs, str) or (isinstance(outputs, Mapping | list) and bool(outputs))


def _source_data(source: Any) -> Mapping[str, Any]:
    """What a record says about where it comes from: MLflow hands out an object here, Databricks a dict."""
    return _mapping(source.get("source_data") if isinstance(source, Mapping) else getattr(source, "source_data", None))


def _traced(
    spark: SparkSession,
    dataset: DatasetModel,
    storage: Storage,
    wanted: Wanted,
    tell: Callable[[str], None],
) -> DataFrame:
    """The rows of a prompt's calls in traces; what no row can be made of is told by its reason."""
    settings = dataset.traces or dataset.trace_table or dataset.inference_table
    if settings is None:
        raise AssertionError("the data set has no traces")
    reading = trace_reading(settings, *wanted)
    if isinstance(settings, TracesModel):
        pages = PageFolder(storage, identity_of(settings, reading, mlflow.get_tracking_uri()))
        left_out = read_traces(settings, reading, pages, tell=tell)
        records = spark.read.schema(RECORDS_DDL).parquet(spark_path(pages.path))
    else:
        read_table = read_trace_table if dataset.trace_table else read_inference_table
        frame = read_path(spark, settings.name) if "/" in settings.name else _table(spark, settings.name)
        name = "traces-" + hashlib.sha256(identity_of(settings, reading, settings.name).encode()).hexdigest()[:16]
        read = storage.keep(spark, read_table(frame, settings, reading), name)
        left_out = count_left_out(read)
        records = read.where(F.col("reason").isNull()).drop("reason")
    line = told(left_out, describe(dataset), records.count())
    if records.isEmpty():
        raise InputError(
            f"{describe(dataset)}{f', filter {settings.filter!r}' if settings.filter else ''}: no call of the prompt "
            f"was found in it. {line or 'There are no traces; check the names'}. The tracking URI is "
            f"{mlflow.get_tracking_uri()}"
        )
    if line:
        log.warning("%s", line)
        tell(line)
    return rows_from_frame(records)


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
