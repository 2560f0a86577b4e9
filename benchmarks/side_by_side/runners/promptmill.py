"""promptmill: ``Evaluation.frame`` over a Parquet file of rows, ledger and result included."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run
from engine.evaluate import Evaluation
from engine.rows import rows_from_records
from engine.session import SparkSettings, spark_session
from engine.storage import Storage
from udfs.endpoint import Endpoint, Limits
from udfs.prompt import Prompt
from udfs.scorers import build_mix


class Promptmill:
    """``settings``: ``master``, and ``limits`` as in a configuration."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._spark = spark_session(SparkSettings(master=work.settings.get("master", "local[2]")))
        self._endpoint = Endpoint("model", base_url=work.base_url, limits=Limits(**work.settings.get("limits", {})))

    def load(self, numbers: range) -> tuple[Path, int]:
        """Write the rows as they come out of a source."""
        folder = self._work.path(f"rows-{numbers.start}")
        records = (
            {"inputs": {"text": rows.text(row)}, "expectations": {"expected_response": rows.expected(row)}}
            for row in numbers
        )
        rows_from_records(self._spark, records).write.mode("overwrite").parquet(folder.as_uri())
        return folder, len(numbers)

    def evaluate(self, data: tuple[Path, int]) -> Scored:
        """Evaluate one prompt; the same folder again goes on where it was."""
        folder, total = data
        root = folder.with_name(f"run-{folder.name}")
        found: DataFrame = self._spark.read.parquet(folder.as_uri())
        mix = build_mix(("exact_match",), None)
        evaluation = Evaluation(self._spark, self._endpoint, mix, Storage.at(str(root), str(root / "run")), "run")
        result = evaluation.frame([Prompt.parse(rows.prompt("{{text}}"))], found, name="result", total=total)
        line = result.agg(F.sum("score").alias("total"), F.count("score").alias("scored")).collect()[0]
        return Scored((line["total"] or 0.0, line["scored"]))


if __name__ == "__main__":
    run(Promptmill, ["pyspark", "aiohttp", "pyarrow"])
