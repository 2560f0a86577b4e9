"""The evaluation inside ``mlflow.genai.optimize_prompts``, by an optimizer that evaluates the prompt and returns it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import mlflow
from mlflow.genai.optimize import BasePromptOptimizer, PromptOptimizerOutput
from mlflow.genai.scorers import scorer

from benchmarks.plain_client import PlainClient
from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run


@scorer
def exact_match(outputs: str, expectations: dict[str, Any]) -> float:
    """Compare as every other system does."""
    return float(outputs.strip() == expectations["expected_response"])


class _Once(BasePromptOptimizer):
    """Evaluates the prompts as they are."""

    def optimize(
        self,
        eval_fn: Callable[..., Any],
        train_data: list[dict[str, Any]],
        target_prompts: dict[str, str],
        enable_tracking: bool = True,  # noqa: ARG002 - MLflow's signature
    ) -> PromptOptimizerOutput:
        self.records = eval_fn(target_prompts, train_data)
        return PromptOptimizerOutput(optimized_prompts=target_prompts)


class OptimizePrompts:
    """``settings``: ``workers`` (else MLflow's default), ``tracing``, ``client`` (openai or plain), ``retries``."""

    def __init__(self, work: Work) -> None:
        settings = work.settings
        mlflow.set_tracking_uri(f"sqlite:///{work.path('mlflow.db')}")
        mlflow.set_experiment("side by side")
        if "workers" in settings:
            os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = str(settings["workers"])
        self._tracking = settings.get("tracing", True)
        if not self._tracking:
            mlflow.tracing.disable()
        ask = _plain(work.base_url) if settings.get("client") == "plain" else _openai(work.base_url, settings)
        self._prompt = mlflow.genai.register_prompt(name="classify", template=rows.prompt("{{text}}"))

        def predict(text: str) -> str:
            return ask(self._prompt.format(text=text))

        self._predict = predict

    def load(self, numbers: range) -> list[dict[str, Any]]:
        """Make a training set."""
        return [
            {"inputs": {"text": rows.text(row)}, "expectations": {"expected_response": rows.expected(row)}}
            for row in numbers
        ]

    def evaluate(self, data: list[dict[str, Any]]) -> Scored:
        """Run one optimization of one evaluation."""
        once = _Once()
        mlflow.genai.optimize_prompts(
            predict_fn=self._predict,
            train_data=data,
            prompt_uris=[self._prompt.uri],
            optimizer=once,
            scorers=[exact_match],
            enable_tracking=self._tracking,
        )
        # A failed call becomes a text that is scored; only that tells it apart.
        return Scored.of(
            [None if str(r.outputs).startswith("Failed to invoke the predict_fn") else r.score for r in once.records]
        )


def _openai(base_url: str, settings: dict[str, Any]) -> Callable[[str], str]:
    import openai

    retries = {"max_retries": settings["retries"]} if "retries" in settings else {}
    client = openai.OpenAI(base_url=base_url, api_key="none", **retries)

    def ask(prompt: str) -> str:
        answer = client.chat.completions.create(model="model", messages=[{"role": "user", "content": prompt}])
        return answer.choices[0].message.content or ""

    return ask


def _plain(base_url: str) -> Callable[[str], str]:
    client = PlainClient(base_url)
    return lambda prompt: client.ask("model", ("user", prompt))


if __name__ == "__main__":
    run(OptimizePrompts, ["mlflow", "openai", "httpx2", "httpx"])
