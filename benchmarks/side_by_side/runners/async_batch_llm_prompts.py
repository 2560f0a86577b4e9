"""async-batch-llm's ``process_prompts``, with its OpenAI model or with an aiohttp client of the user's own."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from async_batch_llm import (
    ArtifactIdentity,
    CallableStrategy,
    CallOutcome,
    JsonlArtifactStore,
    OpenAIModel,
    OpenAIStrategy,
    ProcessorConfig,
    RateLimitConfig,
    ResumePolicy,
    process_prompts,
)

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run


class AsyncBatchLlm:
    """``settings``: ``concurrency``, ``client`` (openai or aiohttp), ``config``, ``rate_limit``, ``checkpoint``."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._settings = work.settings

    def load(self, numbers: range) -> list[tuple[str, str]]:
        """Make prompts with their ids."""
        return [(str(row), rows.prompt(rows.text(row))) for row in numbers]

    def evaluate(self, data: list[tuple[str, str]]) -> Scored:
        """Process and compare."""
        return asyncio.run(self._evaluate(data))

    async def _evaluate(self, data: list[tuple[str, str]]) -> Scored:
        settings = self._settings
        config = ProcessorConfig(**settings.get("config", {}))
        if "rate_limit" in settings:
            config.rate_limit = RateLimitConfig(**settings["rate_limit"])
        store: dict[str, Any] = {}
        if settings.get("checkpoint"):
            identity = ArtifactIdentity(provider="here", model="model", prompt_version="1")
            path = self._work.path(f"checkpoint-{data[0][0]}.jsonl")
            store = {"artifact_store": JsonlArtifactStore(path, identity=identity)}
            store["resume"] = ResumePolicy.REUSE_SUCCESSES
        if settings.get("client") == "aiohttp":
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                batch = await process_prompts(self._own(session), data, config=config, **store)
        else:
            batch = await process_prompts(self._openai(), data, config=config, **store)
        return Scored.of(
            [rows.score(result.output, int(result.item_id)) if result.success else None for result in batch.results]
        )

    def _openai(self) -> OpenAIStrategy:
        model = OpenAIModel.from_api_key(
            "model", "none", base_url=self._work.base_url, api_surface="chat_completions", max_retries=0
        )
        return OpenAIStrategy(model)

    def _own(self, session: aiohttp.ClientSession) -> CallableStrategy[str]:
        url = f"{self._work.base_url}/chat/completions"

        async def invoke(prompt: str, *, attempt: int, timeout: float, state: Any) -> CallOutcome[str]:  # noqa: ARG001, ASYNC109 - its signature
            body = {"model": "model", "messages": [{"role": "user", "content": prompt}]}
            async with session.post(url, json=body) as response:
                response.raise_for_status()
                answer = await response.json()
            usage = answer["usage"]
            return CallOutcome(
                answer["choices"][0]["message"]["content"],
                token_usage={
                    "input_tokens": usage["prompt_tokens"],
                    "output_tokens": usage["completion_tokens"],
                    "total_tokens": usage["total_tokens"],
                },
            )

        return CallableStrategy(invoke, identity=ArtifactIdentity(provider="here", model="model"))


if __name__ == "__main__":
    run(AsyncBatchLlm, ["async-batch-llm", "openai", "aiohttp", "httpx2", "httpx"])
