"""The ledger as Spark reads it."""

from __future__ import annotations

from collections.abc import Collection

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.storage import spark_path
from udfs.ledger import DDL, SCHEMA, LedgerLocation

# Spark looks at each path that it is given, in a job of a task each when there are more than 32: 500 segments took 6 s.
# Their folder is listed in one go, in 0.2 s, and the names that are meant are picked while it is read.
_MOST_PATHS = 32
# The type of a column that holds several entries.
ENTRIES_DDL = f"array<struct<{DDL.replace(' ', ':').replace(',:', ',')}>>"


def read_segments(
    spark: SparkSession, ledger: LedgerLocation, names: Collection[str], *, skip_corrupt: bool
) -> DataFrame:
    """Return the entries of these segments, as :data:`udfs.ledger.DDL` has them; a key may come several times.

    Their footers have been checked by who listed them. With ``skip_corrupt`` a segment that is broken behind a sound
    footer is passed over by the executors, who log it, and its entries are called again; else it fails the job.
    """
    reader = spark.read.schema(DDL).option("ignoreCorruptFiles", str(skip_corrupt).lower())
    if len(names) <= _MOST_PATHS:
        return reader.parquet(*(spark_path(f"{ledger.folder}/{name}") for name in sorted(names)))
    # Merged segments lie one folder deeper; what Spark and we call files is told apart by a part of chance in each.
    folder = reader.option("recursiveFileLookup", "true").option("pathGlobFilter", "*.parquet")
    files = sorted(name.rpartition("/")[2] for name in names)
    return folder.parquet(spark_path(ledger.folder)).where(F.col("_metadata.file_name").isin(files))


def entry() -> Column:
    """Return an entry as one struct."""
    return F.struct(*(F.col(name) for name in SCHEMA.names))


def latest_entry() -> Column:
    """Return the aggregate that picks the latest of several entries, in the order of :func:`udfs.ledger.latest`."""
    age = F.struct("answered_at", "run_id", F.col("output").isNotNull(), F.coalesce("output", F.lit("")))
    return F.max_by(entry(), age)
