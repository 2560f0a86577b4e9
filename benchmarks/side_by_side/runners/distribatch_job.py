"""distribatch's ``GenerateJob`` on its Spark backend; the score is a column over its output."""

from __future__ import annotations

import os
import sys
from typing import Any

import distribatch as dib
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run
from benchmarks.side_by_side.runners.spark import read_rows, spark_session, write_rows


class Distribatch:
    """``settings``: ``master``, ``engine`` (its options), ``batch_size``, ``checkpoint``, ``checkpoint_every``."""

    def __init__(self, work: Work) -> None:
        os.environ["OPENAI_API_KEY"] = "none"
        self._work = work
        self._settings = work.settings
        self._spark: SparkSession = spark_session(self._settings.get("master", "local[2]"))
        self._job = dib.GenerateJob(
            model=dib.models.openai("model", base_url=work.base_url, api_key_env="OPENAI_API_KEY"),
            prompt=rows.prompt("{text}"),
            engine_options=self._settings.get("engine", {}),
        )

    def load(self, numbers: range) -> str:
        """Write the rows."""
        return write_rows(numbers, self._work.path(f"rows-{numbers.start}.parquet"))

    def evaluate(self, data: str) -> Scored:
        """Run the job and compare, in one action."""
        options: dict[str, Any] = {}
        if "batch_size" in self._settings:
            options["batch_size"] = self._settings["batch_size"]
        if self._settings.get("checkpoint"):
            options |= {"checkpoint": f"{data}.checkpoint", "id_col": "row"}
            options["checkpoint_every"] = self._settings["checkpoint_every"]
        frame = read_rows(self._spark, data)
        done = self._job.run(frame, backend="spark", output_col="answer", **options)
        right = F.when(F.col("answer").isNotNull(), (F.trim("answer") == F.col("expected")).cast("double"))
        line = done.agg(F.sum(right).alias("total"), F.count(right).alias("scored")).collect()[0]
        return Scored((line["total"] or 0.0, line["scored"]))


if __name__ == "__main__":
    os.environ["PYSPARK_PYTHON"] = sys.executable
    run(Distribatch, ["distribatch", "pyspark", "openai", "httpx2", "httpx"])
