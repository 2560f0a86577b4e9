"""Where a run keeps what it makes: a folder on a local path, on ``/Volumes/…``, or under an object-store URI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs
from pyspark.sql import DataFrame, SparkSession

from udfs.ledger import LedgerLocation


@dataclass(frozen=True)
class Storage:
    """``root`` holds the ledger, shared by all runs; ``run_dir`` is one run's own folder. Both absolute or URIs."""

    root: str
    run_dir: str

    @classmethod
    def at(cls, root: str, run_dir: str) -> Storage:
        """Make a storage of paths as users give them: relative local paths become absolute."""
        return cls(_absolute(root), _absolute(run_dir))

    @property
    def ledger(self) -> LedgerLocation:
        """The ledger, shared by all runs under this root."""
        return LedgerLocation(self.root)

    def folder(self, name: str) -> str:
        """Return the path of a folder of this run's."""
        return f"{self.run_dir}/{name}"

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        """Return the file system of ``path`` and the path on it."""
        if "://" in path:
            found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(path)
            return found
        return pafs.LocalFileSystem(), path

    def keep(self, spark: SparkSession, frame: DataFrame, name: str) -> DataFrame:
        """Write ``frame`` once as Parquet and return it as read back, so that no later action computes it again.

        What an earlier, interrupted run wrote whole under the same name is read instead.
        """
        folder = self.folder(name)
        filesystem, path = self.filesystem(f"{folder}/_SUCCESS")
        if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
            frame.write.mode("overwrite").parquet(folder)
        return spark.read.schema(frame.schema).parquet(folder)


def _absolute(path: str) -> str:
    return path.rstrip("/") if "://" in path else str(Path(path).expanduser().absolute())
