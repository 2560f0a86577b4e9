"""``optimizations.optimize()`` in Python: one optimization as ever, several as a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.batch.observer import Relayed
from engine.batch.run import run_batch
from engine.batch.state import is_batch
from engine.config import PromptOptimizationModel
from engine.outcome import OptimizedPrompt


def optimize_all(
    optimizations: Mapping[str, PromptOptimizationModel], *, parallel: int | None = None, **options: Any
) -> dict[str, OptimizedPrompt]:
    """Run ``optimizations`` of one configuration, by key; return the prompts to use from now on, by key.

    A ``progress`` is told of all of them, with the key before each stage and line; an ``observer`` takes its place.

    Raises:
        PromptmillError: the first failure, after all have run.
    """
    if len(optimizations) == 1 and not is_batch(options.get("run_dir")):
        return {key: settings.optimize(**options).prompt for key, settings in optimizations.items()}
    if not optimizations:
        return {}
    progress = options.pop("progress", None)
    if progress is not None:
        options.setdefault("observer", Relayed(progress))
    app = next(iter(optimizations.values())).app
    result = run_batch(app, optimizations, parallel=parallel, **options)
    for error in result.failures.values():
        raise error
    return result.prompts()
