"""``dspy.Evaluate`` over a ``dspy.Predict``, or over a module that calls the model with the bare prompt."""

from __future__ import annotations

import os
from typing import Any

import dspy

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run


class Classify(dspy.Signature):
    """Sort the customer's message into one of: billing, delivery, returns, account, praise."""

    text: str = dspy.InputField()
    label: str = dspy.OutputField(desc="that one word")


class Direct(dspy.Module):
    """Sends the prompt as it is: none of the adapter's framing and parsing."""

    def forward(self, text: str) -> dspy.Prediction:
        """Ask once."""
        return dspy.Prediction(label=dspy.settings.lm(rows.prompt(text))[0])


class Evaluate:
    """``settings``: ``threads`` (else DSPy's default), ``program`` (predict or direct), ``cache``, ``retries``."""

    def __init__(self, work: Work) -> None:
        settings = work.settings
        cached = settings.get("cache", False)
        dspy.configure_cache(
            enable_disk_cache=cached, enable_memory_cache=cached, disk_cache_dir=str(work.path("dspy-cache"))
        )
        retries = {"num_retries": settings["retries"]} if "retries" in settings else {}
        lm = dspy.LM("openai/model", api_base=work.base_url, api_key="none", cache=cached, **retries)
        dspy.configure(lm=lm)
        self._program = Direct() if settings.get("program") == "direct" else dspy.Predict(Classify)
        self._threads = settings.get("threads")

    def load(self, numbers: range) -> list[Any]:
        """Make examples."""
        return [dspy.Example(text=rows.text(row), label=rows.expected(row)).with_inputs("text") for row in numbers]

    def evaluate(self, data: list[Any]) -> Scored:
        """Evaluate; an example whose call failed counts as unscored, though DSPy itself scores it 0."""
        evaluate = dspy.Evaluate(
            devset=data,
            metric=lambda example, prediction, trace=None: float(prediction.label.strip() == example.label),  # noqa: ARG005
            num_threads=self._threads,
            max_errors=len(data) + 1,
            failure_score=-1.0,
            display_progress=False,
        )
        return Scored.of([None if score == -1.0 else score for _, _, score in evaluate(self._program).results])


if __name__ == "__main__":
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    run(Evaluate, ["dspy", "litellm", "openai", "httpx"])
