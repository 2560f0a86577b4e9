"""What is evaluated: rows made by Spark, 500 to 1,500 characters each, and prompts that differ in their wording."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.rows import Row
from udfs.prompt import Prompt

_SENTENCE = "The room was clean and the staff kind, but breakfast came late and the coffee was cold. "


def prompts(count: int) -> list[Prompt]:
    """Return so many different prompts."""
    return [
        Prompt.parse(f"Classify the sentiment of this review as positive or negative ({number}). Review: {{{{text}}}}")
        for number in range(count)
    ]


def rows(spark: SparkSession, count: int) -> DataFrame:
    """Return distinct rows as the engine holds them; half of them expect what the endpoint answers."""
    number = F.col("id").cast("string")
    text = F.substring(
        F.concat(number, F.lit(" "), F.lit(_SENTENCE * 20)), F.lit(1), (F.lit(500) + F.col("id") % 1000).cast("int")
    )
    inputs = F.to_json(F.struct(text.alias("text")))
    expected = F.when(F.col("id") % 2 == 0, "positive").otherwise("negative")
    return spark.range(count).select(
        F.sha2(inputs, 256).alias("row_id"),
        inputs.alias("inputs"),
        F.to_json(F.struct(expected.alias("expected_response"))).alias("expectations"),
        F.lit(1).cast("long").alias("weight"),
    )


def local_rows(spark: SparkSession, count: int) -> list[Row]:
    """Return the same rows as the driver holds them."""
    return [
        Row(line["row_id"], line["inputs"], line["expectations"], line["weight"])
        for line in rows(spark, count).collect()
    ]
