"""spark-llm-eval: its ``EvaluationRunner``, or only its inference UDF with the score as a column over it."""

from __future__ import annotations

import os
import sys

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention
from spark_llm_eval.core.config import InferenceConfig, MetricConfig, ModelConfig, ModelProvider, StatisticsConfig
from spark_llm_eval.core.task import EvalTask
from spark_llm_eval.evaluation.base import MetricResult, register_metric
from spark_llm_eval.evaluation.lexical import ExactMatchMetric
from spark_llm_eval.inference.batch_udf import INFERENCE_OUTPUT_SCHEMA, create_inference_udf
from spark_llm_eval.orchestrator.runner import EvaluationRunner, RunnerConfig

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run
from benchmarks.side_by_side.runners.spark import read_rows, spark_session, write_rows


@register_metric
class ExactMatch(ExactMatchMetric):
    """Its own metric, taking the ``queries`` that its runner hands to every metric and its own one refuses."""

    name = "exact_match_with_queries"

    def compute(self, predictions: list[str], references: list[str], queries: list[str]) -> MetricResult:  # noqa: ARG002
        """Compare."""
        return super().compute(predictions, references)


class SparkLlmEval:
    """``settings``: ``master``, ``partitions``, and ``runner`` to take its whole runner instead of its UDF alone."""

    def __init__(self, work: Work) -> None:
        os.environ["OPENAI_API_KEY"] = "none"
        self._work = work
        self._spark = spark_session(work.settings.get("master", "local[2]"))
        self._model = ModelConfig(
            provider=ModelProvider.OPENAI,
            model_name="model",
            endpoint=work.base_url,
            api_key_secret="openai/api_key",  # noqa: S106 - where it looks for the key
        )

    def load(self, numbers: range) -> str:
        """Write the rows."""
        files = self._work.settings.get("partitions", 2)
        return write_rows(numbers, self._work.path(f"rows-{numbers.start}.parquet"), files)

    def evaluate(self, data: str) -> Scored:
        """Predict and score."""
        return self._by_runner(data) if self._work.settings.get("runner") else self._by_udf(data)

    def _by_udf(self, data: str) -> Scored:
        frame = read_rows(self._spark, data)
        asked = frame.select(
            F.col("row").cast("string").alias("request_id"),
            F.concat(F.lit(rows.prompt("")), F.col("text")).alias("prompt"),
        )
        answers = asked.mapInPandas(create_inference_udf(self._model, InferenceConfig()), INFERENCE_OUTPUT_SCHEMA)
        known = read_rows(self._spark, data).select(F.col("row").cast("string").alias("request_id"), "expected")
        right = F.when(
            F.col("response_text").isNotNull(), (F.trim("response_text") == F.col("expected")).cast("double")
        )
        joined = answers.join(known, "request_id")
        line = joined.agg(F.sum(right).alias("total"), F.count(right).alias("scored")).collect()[0]
        return Scored((line["total"] or 0.0, line["scored"]))

    def _by_runner(self, data: str) -> Scored:
        metric = MetricConfig(name=ExactMatch.name)
        template = rows.prompt("{{ text }}")
        task = EvalTask(
            task_id="side-by-side",
            name="side by side",
            dataset_path=data,
            model_config=self._model,
            prompt_template=template,
            metrics=[metric],
            input_column="text",
            reference_column="expected",
        )
        config = RunnerConfig(
            model_config=self._model, metrics=[metric], statistics_config=StatisticsConfig(ci_method="analytical")
        )
        frame = read_rows(self._spark, data)
        result = EvaluationRunner(self._spark, config).run(frame, task)
        found = result.metrics[ExactMatch.name]
        return Scored((found.value * found.sample_size, found.sample_size))


if __name__ == "__main__":
    os.environ["PYSPARK_PYTHON"] = sys.executable
    run(SparkLlmEval, ["spark-llm-eval", "pyspark", "openai", "httpx2", "httpx", "delta-spark"])
