"""What the Spark systems beside promptmill share: a session like promptmill's own, and rows in a Parquet file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from benchmarks.side_by_side import rows

# Two tasks at once take part in every run of default size, as many as the machine's cores; a file of one row group
# would give one.
_PARTITIONS = 2


def spark_session(master: str) -> SparkSession:
    """Start Spark as promptmill does on one machine."""
    return (
        SparkSession.builder.master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )


def write_rows(numbers: range, path: Path) -> str:
    """Write row number, text and expected answer."""
    table = pa.table(
        {
            "row": pa.array(list(numbers), pa.int64()),
            "text": [rows.text(row) for row in numbers],
            "expected": [rows.expected(row) for row in numbers],
        }
    )
    pq.write_table(table, path)
    return str(path)


def read_rows(spark: SparkSession, path: str, partitions: int = _PARTITIONS) -> DataFrame:
    """Read them back, spread evenly over the tasks."""
    return spark.read.parquet(Path(path).as_uri()).repartition(partitions)
