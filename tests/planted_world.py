"""A world with a known best prompt, over real HTTP: rows, a scripted target and a scripted reflection model.

The task: a word is to be answered in upper case. The target does so only when told to; any other prompt makes it
chat. The reflection model writes a useless edit, a harmful one and the planted good one, in turn.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from engine.scripted_endpoint import Call, Reply

SEED = "Say this word: {{word}}"
GOOD = "Answer with the word in UPPER CASE and nothing else. Word: {{word}}"
USELESS = "Please say this word: {{word}}"
HARMFUL = "Answer with the word in UPPER CASE."


def words(count: int) -> list[str]:
    return [f"word{number:03d}" for number in range(count)]


def records(count: int) -> list[dict[str, object]]:
    return [{"inputs": {"word": w}, "expectations": {"expected_response": w.upper()}} for w in words(count)]


def target(call: Call) -> str:
    word = re.findall(r"word\d{3,}", call.messages[-1]["content"])[-1]
    told = "UPPER CASE" in call.prompt
    return word.upper() if told else f"Sure! The word is {word}."


def reflection(call: Call) -> str:
    proposals = [USELESS, HARMFUL, GOOD]
    return json.dumps({"diagnosis": "scripted", "new_prompt": proposals[call.number % len(proposals)]})


def useless_reflection(call: Call) -> str:
    return json.dumps({"diagnosis": "scripted", "new_prompt": f"{USELESS} ({call.number})"})


def failing_a_third(call: Call) -> Reply | str:
    """Every third call meets an outage of one kind or another; the rest are answered."""
    if call.number % 3 == 0:
        kinds = (Reply(status=503), Reply(status=429, headers={"Retry-After": "0.05"}), Reply(hang_up=True))
        return kinds[call.number // 3 % len(kinds)]
    return target(call)


def config_text(
    folder: Path, *, target_url: str, reflection_url: str, rows: int = 120, proposer: str = "[gepa]", extra: str = ""
) -> str:
    data = json.dumps(records(rows))
    return f"""
resources:
  llms:
    target: &target {{name: small, provider: openai, base_url: {target_url}, temperature: 0.0, max_tokens: 16,
                      price: {{prompt_per_million: 1.0, completion_per_million: 2.0}}}}
    source: &source {{name: big, provider: openai, base_url: {reflection_url}}}
prompts:
  shout: &shout {{name: shout, default_template: "{SEED}"}}
agents:
  shouter: &shouter {{name: shouter, model: *target, prompt: *shout}}
optimizations:
  prompt_optimizations:
    migrate_shout:
      name: migrate_shout
      prompt: *shout
      agent: *shouter
      dataset: {{data: {data}}}
      reflection_model: *source
      num_candidates: 3
      max_steps: 2
      minibatch_size: 4
      proposer: {proposer}
      {extra}
storage: {{root: {folder}/store}}
mlflow: {{tracking_uri: "sqlite:///{folder}/mlflow.db", experiment: tests}}
"""
