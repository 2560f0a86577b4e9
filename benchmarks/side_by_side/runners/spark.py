"""What the Spark systems beside promptmill share: a session like promptmill's own, and rows in a Parquet file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from benchmarks.side_by_side import rows

# As many as the machine has cores; one file would give one task the whole work.
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


def write_rows(numbers: range, path: Path, files: int = _PARTITIONS) -> str:
    """Write row number, text and expected answer, in as many files as there are to be partitions."""
    path.mkdir(exist_ok=True)
    for part in range(files):
        mine = numbers[part::files]
        table = pa.table(
            {
                "row": pa.array(list(mine), pa.int64()),
                "text": [rows.text(row) for row in mine],
                "expected": [rows.expected(row) for row in mine],
            }
        )
        pq.write_table(table, path / f"part-{part:02d}.parquet")
    return str(path)


def read_rows(spark: SparkSession, path: str) -> DataFrame:
    """Read them back: small files are partitions of their own as long as there are cores for them."""
    return spark.read.parquet(Path(path).as_uri())
