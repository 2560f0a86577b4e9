"""The bill of a collection, before anything is called."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.collect import source_model
from engine.collect_inputs import input_rows
from engine.config import AppConfig, LLMModel, PromptOptimizationModel
from engine.evaluation_dataset import dataset_name
from engine.migration import seed_prompt
from engine.session import configured_session
from engine.token_estimate import tokens_in
from engine.tracking import set_up

# An answer's length where the source model has no max_tokens.
_ANSWER_TOKENS = 256
# Rows whose lengths an estimate looks at.
_SAMPLED_ROWS = 200


@dataclass(frozen=True)
class CollectEstimate:
    """The bill at the most: nothing reused, every answer as long as ``max_tokens`` allows. ``cost`` in ``currency``."""

    rows: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    currency: str | None


def estimate_collect(
    app: AppConfig,
    settings: PromptOptimizationModel,
    inputs_path: str,
    *,
    spark: SparkSession | None = None,
    model: LLMModel | str | None = None,
) -> CollectEstimate:
    """Foresee calls, tokens and money of :func:`engine.collect.collect`; calls nothing and writes nothing.

    Raises:
        InputError: configuration or inputs can't be used.
    """
    set_up(app.mlflow.tracking_uri)
    seed, source = seed_prompt(settings), source_model(app, settings, model).endpoint()
    dataset_name(settings)
    session = configured_session(app, spark)
    rows = input_rows(session, inputs_path, seed.variables, settings.slices).where(F.col("inputs").isNotNull())
    total = rows.count()
    sample = rows.select("inputs").limit(_SAMPLED_ROWS).collect()
    lengths = [sum(tokens_in(m["content"]) for m in seed.messages(json.loads(line["inputs"]))) for line in sample]
    each = sum(lengths) / len(lengths) if lengths else 0.0
    prompt, completion = int(total * each), total * (source.sampling.max_tokens or _ANSWER_TOKENS)
    price = source.price
    cost = price.cost(prompt, completion) if price else None
    return CollectEstimate(total, total, prompt, completion, cost, price.currency if price else None)
