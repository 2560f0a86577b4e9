"""A world where prompts get better step by step, and where every answer depends on nothing but its request.

A prompt says with how much care a word is to be said; the more care, the more words come out right. The reflection
model raises the care a little, or lowers it, as a hash of its request has it. So a search has real decisions to take,
and takes the same ones whenever it is asked the same questions, however often it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import planted_world
from driver import cluster_section

from engine.scripted_endpoint import Call

SEED = "Say this word with care 1: {{word}}"
_STEPS = (2, 1, -1, 0)


def target(call: Call) -> str:
    care = int(re.findall(r"with care (\d+)", call.prompt)[-1])
    word = re.findall(r"word\d{3,}", call.prompt)[-1]
    return word.upper() if _hash(word) % 100 < 12 * care else f"I would rather not say {word}."


def reflection(call: Call) -> str:
    template = re.findall(r"<template>\n(.*?)\n</template>", call.messages[-1]["content"], re.DOTALL)[-1]
    care = int(re.findall(r"with care (\d+)", template)[-1])
    drawn = _hash(call.key)
    text = f"Say this word with care {max(0, care + _STEPS[drawn % 4])} (draft {drawn % 10_000}): {{{{word}}}}"
    return json.dumps({"diagnosis": "scripted", "new_prompt": text})


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def config(
    folder: Path,
    *,
    target_url: str,
    reflection_url: str,
    rows: int,
    concurrency: int,
    steps: int = 3,
    spark: str | None = None,
) -> Path:
    """Write a configuration into ``folder`` and return its path; all that is kept is kept under ``folder``, too."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in planted_world.records(rows)))
    path = folder / "config.yaml"
    path.write_text(f"""
resources:
  llms:
    target: &target {{name: small, provider: openai, base_url: {target_url}, temperature: 0.0, max_tokens: 16,
                      limits: {{max_concurrency: {concurrency}, timeout_s: 10}},
                      price: {{prompt_per_million: 1.0, completion_per_million: 2.0}}}}
    source: &source {{name: big, provider: openai, base_url: {reflection_url}}}
prompts:
  say: &say {{name: say, default_template: "{SEED}"}}
agents:
  sayer: &sayer {{name: sayer, model: *target, prompt: *say}}
optimizations:
  prompt_optimizations:
    ladder:
      name: ladder
      prompt: *say
      agent: *sayer
      dataset: {{path: {data}}}
      reflection_model: *source
      num_candidates: 3
      max_steps: {steps}
      minibatch_size: 8
storage: {{root: {folder}/store}}
mlflow: {{tracking_uri: "sqlite:///{folder}/mlflow.db", experiment: tests}}
spark: {spark or cluster_section()}
""")
    return path
