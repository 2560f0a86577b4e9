"""Rows: one distinct input each, whatever they came from.

===============  =====================  =====================================================================
column           type
===============  =====================  =====================================================================
``row_id``       string                 sha256 of the canonical JSON of the inputs
``inputs``       string                 JSON object of the template's variables, canonical
``expectations`` string, null           JSON object, canonical: what the scorers read
``weight``       long                   how many records had this input
``slices``       map<string,string>     tags to report by
``trace_id``     string, null           one of the traces that had this input
===============  =====================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from udfs.records import RECORDS_DDL, RESERVED, normal_record, record_normaliser

ROWS_DDL = (
    "row_id string, inputs string, expectations string, weight bigint, slices map<string,string>, trace_id string"
)


@dataclass(frozen=True)
class Row:
    """A row on the driver; see the module's table. ``inputs`` and ``expectations`` are JSON text."""

    row_id: str
    inputs: str
    expectations: str | None = None
    weight: int = 1
    slices: Mapping[str, str] = field(default_factory=dict)


def rows_from_records(spark: SparkSession, records: Iterable[Mapping[str, Any]]) -> DataFrame:
    """Make rows of records held in memory, such as inline YAML: ``inputs``, and optionally the other columns.

    Raises:
        InputError: a record has no ``inputs``, or they are no object; the message names the record by number.
    """
    flat = []
    for number, record in enumerate(records, start=1):
        normal = normal_record(record)
        if normal["defect"]:
            raise InputError(f"record {number} {normal['defect']}")
        flat.append(tuple(normal.values()))
    if not flat:
        raise InputError("the data set has no records; give at least a few dozen")
    return _distinct(spark.createDataFrame(flat, RECORDS_DDL))


def rows_from_frame(frame: DataFrame) -> DataFrame:
    """Make rows of any DataFrame; nothing is collected.

    A column ``inputs`` (JSON text, struct or map) holds the template's variables; without it, every column that is
    not one of ``expectations``, ``expected_response``, ``expected_facts``, ``outputs``, ``weight``, ``slices`` and
    ``trace_id`` is a variable of its own name.

    Raises:
        InputError: records have no usable ``inputs``; the message quotes the first defects.
    """
    columns = frame.columns
    if "inputs" not in columns:
        inputs = [name for name in columns if name not in RESERVED]
        if not inputs:
            raise InputError(f"the source has no column for inputs; its columns are {', '.join(columns)}")
        frame = frame.withColumn("inputs", F.struct(*[F.col(f"`{name}`") for name in inputs]))
    picked = [name for name in ("inputs", *RESERVED) if name in frame.columns]
    as_text = [
        (F.col(name) if dtype == "string" else F.to_json(F.struct(F.col(name).alias("v")))).alias(name)
        for name, dtype in frame.select(*picked).dtypes
    ]
    wrapped = {name for name, dtype in frame.select(*picked).dtypes if dtype != "string"}

    normal = frame.select(*as_text).mapInPandas(record_normaliser(picked, wrapped), RECORDS_DDL)
    return _distinct(normal)


def defects(rows: DataFrame) -> list[str]:
    """Return up to three examples of records that could not become rows (they carry no inputs)."""
    found = rows.where(F.col("inputs").isNull()).select("expectations").limit(3).collect()
    return [str(row["expectations"]) for row in found]


def local_rows(rows: DataFrame) -> list[Row]:
    """Collect rows, sorted by id. Only for train and val, which are small by their settings."""
    return [
        Row(r["row_id"], r["inputs"], r["expectations"], int(r["weight"]), dict(r["slices"] or {}))
        for r in rows.orderBy("row_id").collect()
    ]


def _distinct(records: DataFrame) -> DataFrame:
    """One row a distinct input: weights add up; of differing expectations one stands.

    It is a person's where there is one, else the most frequent, else the latest (traces have a time; other records are
    taken by their text, so that it is always the same one).

    Records without inputs stay as lines with a null ``inputs`` and their defect in ``expectations``, for the caller
    to refuse or to count.
    """
    good = records.where(F.col("defect").isNull())
    bad = records.where(F.col("defect").isNotNull()).select(
        F.lit(None).cast("string").alias("row_id"),
        F.lit(None).cast("string").alias("inputs"),
        F.col("defect").alias("expectations"),
        F.lit(0).cast("bigint").alias("weight"),
        F.lit(None).cast("map<string,string>").alias("slices"),
        F.col("trace_id"),
    )
    by_answer = good.groupBy("inputs", "expectations").agg(
        F.sum("weight").alias("votes"),
        F.max("by_person").alias("by_person"),
        F.max("recorded_ms").alias("latest"),
        F.min("slices").alias("slices"),
        F.min("trace_id").alias("trace_id"),
    )
    standing = F.struct("by_person", "votes", "latest", "expectations", "slices", "trace_id")
    rows = by_answer.groupBy("inputs").agg(F.max(standing).alias("most"), F.sum("votes").alias("weight"))
    return rows.select(
        F.sha2("inputs", 256).alias("row_id"),
        "inputs",
        F.col("most.expectations").alias("expectations"),
        F.col("weight").cast("bigint").alias("weight"),
        F.from_json("most.slices", "map<string,string>").alias("slices"),
        F.col("most.trace_id").alias("trace_id"),
    ).unionByName(bad)
