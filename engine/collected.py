"""What a collection has written to MLflow already: one small file a batch, so that no trace is ever written twice.

=============  =========  ==============================================
column         type
=============  =========  ==============================================
``format``     int        1
``row_id``     string     the row that was written
``trace_id``   string     its trace
=============  =========  ==============================================
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import ConfigError
from engine.storage import Storage
from udfs.files import filesystem_of

FORMAT_VERSION = 1
_DDL = "format int, row_id string, trace_id string"
_SCHEMA = pa.schema([("format", pa.int32()), ("row_id", pa.string()), ("trace_id", pa.string())])


@dataclass(frozen=True)
class CollectedRows:
    """The rows of one run that stand in MLflow, on the run's storage."""

    storage: Storage

    def add(self, trace_ids: Mapping[str, str]) -> None:
        """Note a batch, row id to trace id: all of it or, where the process dies, nothing."""
        filesystem, folder = self._folder()
        filesystem.create_dir(folder, recursive=True)
        lines = [{"format": FORMAT_VERSION, "row_id": row, "trace_id": trace} for row, trace in trace_ids.items()]
        name = uuid.uuid4().hex
        unfinished = f"{folder}/_{name}"  # Spark passes over names that begin with an underscore
        pq.write_table(pa.Table.from_pylist(lines, schema=_SCHEMA), unfinished, filesystem=filesystem)
        filesystem.move(unfinished, f"{folder}/{name}.parquet")

    def missing_from(self, answers: DataFrame, spark: SparkSession) -> DataFrame:
        """Return the lines of ``answers`` (they have a ``row_id``) that have not been noted.

        Raises:
            ConfigError: a promptmill of another format wrote the notes.
        """
        filesystem, folder = self._folder()
        if filesystem.get_file_info(folder).type == pafs.FileType.NotFound:
            return answers
        noted = spark.read.schema(_DDL).parquet(self.storage.folder("collected"))
        foreign = noted.where(F.col("format") != FORMAT_VERSION).limit(1).collect()
        if foreign:
            raise ConfigError(
                f"{folder}: has format {foreign[0]['format']}, this promptmill reads {FORMAT_VERSION}; give another "
                "--run-dir, or the promptmill that wrote it"
            )
        return answers.join(noted.select("row_id"), "row_id", "left_anti")

    def _folder(self) -> tuple[pafs.FileSystem, str]:
        return filesystem_of(self.storage.folder("collected"))
