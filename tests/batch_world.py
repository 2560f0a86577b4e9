"""Many small optimizations in one configuration: the planted world's, each with a prompt of its own."""

from __future__ import annotations

import json
from pathlib import Path

import planted_world as world

from engine.config import AppConfig


def config_text(
    folder: Path, target_url: str, *, count: int, rows: int = 30, broken: tuple[int, ...] = (), extra: str = ""
) -> str:
    """``count`` optimizations ``word_00``, …, on the same rows; those in ``broken`` ask for what the rows lack."""
    lines = []
    for number in range(count):
        variable = "wrod" if number in broken else "word"
        lines.append(
            f"""
    word_{number:02d}:
      name: word_{number:02d}
      prompt: {{name: word_{number:02d}, default_template: "Say this word ({number}): {{{{{variable}}}}}"}}
      agent: *shouter
      dataset: {{path: {folder}/rows.jsonl}}
      scorers: [exact_match]
      num_candidates: 1
      max_steps: 1
      minibatch_size: 4
      proposer: demos
      num_demos: 2"""
        )
    rows_file = folder / "rows.jsonl"
    rows_file.write_text("".join(f"{json.dumps(record)}\n" for record in world.records(rows)))
    return f"""
resources:
  llms:
    target: &target {{name: small, provider: openai, base_url: {target_url}, temperature: 0.0, max_tokens: 16,
                      price: {{prompt_per_million: 1.0, completion_per_million: 2.0}}}}
agents:
  shouter: &shouter {{name: shouter, model: *target, prompt: {{name: shout, default_template: "{world.SEED}"}}}}
optimizations:
  {extra}
  prompt_optimizations: {"".join(lines)}
storage: {{root: {folder}/store}}
mlflow: {{tracking_uri: "sqlite:///{folder}/mlflow.db", experiment: tests}}
"""


def app(folder: Path, target_url: str, **options) -> AppConfig:
    path = folder / "config.yaml"
    path.write_text(config_text(folder, target_url, **options))
    return AppConfig.from_file(path)
