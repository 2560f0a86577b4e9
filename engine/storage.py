"""Where a run keeps what it makes: a folder on a local path, on ``/Volumes/…``, or under an object-store URI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs
from pyspark.sql import DataFrame, SparkSession

from udfs.files import filesystem_of
from udfs.ledger import LedgerLocation


@dataclass(frozen=True)
class Storage:
    """``root`` holds the ledger, shared by all runs; ``data_dir`` one run's rows and results. Both absolute or URIs.

    Driver and executors must both see them: on a cluster of several machines that is a shared mount, ``/Volumes/…`` or
    an object store, never a machine's own disk.
    """

    root: str
    data_dir: str

    @classmethod
    def at(cls, root: str, run_dir: str, *, run_id: str = "") -> Storage:
        """Make a storage of paths as users give them: relative local paths become absolute.

        ``run_dir`` is the driver's; under a ``root`` that is a URI the run's data goes below it, by the folder's name
        and the beginning of ``run_id``: folders of several drivers, or of several batches, may be called the same.
        """
        name = "-".join(filter(None, (Path(run_dir).name, run_id[:8])))
        data_dir = f"{root.rstrip('/')}/runs/{name}" if "://" in root else _absolute(run_dir)
        return cls(_absolute(root), data_dir)

    @property
    def ledger(self) -> LedgerLocation:
        """The ledger, shared by all runs under this root."""
        return LedgerLocation(self.root)

    def folder(self, name: str) -> str:
        """Return the path of a folder of this run's."""
        return f"{self.data_dir}/{name}"

    def keep(self, spark: SparkSession, frame: DataFrame, name: str) -> DataFrame:
        """Write ``frame`` once as Parquet and return it as read back, so that no later action computes it again.

        What an earlier, interrupted run wrote whole under the same name is read instead.
        """
        folder = self.folder(name)
        if not self.has(name):
            frame.write.mode("overwrite").parquet(spark_path(folder))
        return spark.read.schema(frame.schema).parquet(spark_path(folder))

    def has(self, name: str) -> bool:
        """True where a frame was kept whole under this name."""
        filesystem, path = filesystem_of(f"{self.folder(name)}/_SUCCESS")
        return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


def spark_path(path: str) -> str:
    """Return ``path`` as Spark must be told it: without a scheme it would look on the cluster's default file system.

    Hadoop's paths are no URIs: it would take an escaped character for three of the name's own.

    >>> spark_path("/my data/round=1"), spark_path("/Volumes/main/default/v"), spark_path("s3://b/x")
    ('file:///my data/round=1', '/Volumes/main/default/v', 's3://b/x')
    """
    return path if "://" in path or path.startswith(("/Volumes/", "/dbfs/")) else f"file://{path}"


def _absolute(path: str) -> str:
    return path.rstrip("/") if "://" in path else str(Path(path).expanduser().absolute())
