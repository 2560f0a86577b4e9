"""Daft's ``prompt`` expression over a DataFrame; the score is an expression over its output."""

from __future__ import annotations

from typing import Any

import daft
from daft.ai.openai.provider import OpenAIProvider
from daft.functions.ai import prompt

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run


class DaftPrompt:
    """``settings``: ``options`` of ``prompt``, and ``partitions`` to split the rows in."""

    def __init__(self, work: Work) -> None:
        self._settings = work.settings
        self._provider = OpenAIProvider(name="here", base_url=work.base_url, api_key="none")

    def load(self, numbers: range) -> Any:
        """Make a frame in memory."""
        frame = daft.from_pydict(
            {
                "prompt": [rows.prompt(rows.text(row)) for row in numbers],
                "expected": [rows.expected(row) for row in numbers],
            }
        )
        if "batch_size" in self._settings:
            frame = frame.into_batches(self._settings["batch_size"])
        return frame

    def evaluate(self, data: Any) -> Scored:
        """Prompt, compare and collect the scores."""
        options = self._settings.get("options", {})
        answer = prompt(
            daft.col("prompt"), provider=self._provider, model="model", use_chat_completions=True, **options
        )
        done = data.with_column("answer", answer)
        scores = done.select((daft.col("answer") == daft.col("expected")).alias("score")).to_pydict()["score"]
        return Scored.of([None if score is None else float(score) for score in scores])


if __name__ == "__main__":
    run(DaftPrompt, ["daft", "openai", "httpx2", "httpx"])
