"""What gepa would return when, by its own public seam; for the systems that run gepa's loop."""

from __future__ import annotations

from typing import Any

from benchmarks.search.runner import Task


class GepaWatch:
    """gepa's stopper, asked before every iteration: notes the best candidate so far, and never stops."""

    def __init__(self, task: Task, component: str) -> None:
        self._task = task
        self._component = component

    def __call__(self, state: Any) -> bool:
        """Note the candidate that ``GEPAResult.best_candidate`` would be now."""
        scores = [state.get_program_average_val_subset(number)[0] for number in range(len(state.program_candidates))]
        best = max(range(len(scores)), key=scores.__getitem__)
        self._task.returns(state.program_candidates[best][self._component])
        return False
