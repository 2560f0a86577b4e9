"""DSPy's MIPROv2 over instructions alone: in these worlds demonstrations teach nothing, so none are tried.

``settings``: ``threads``, ``candidates`` (instructions proposed; trials follow from the budget), ``minibatch``.
"""

from __future__ import annotations

import threading
from typing import Any

import dspy
from dspy.teleprompt import MIPROv2
from dspy.utils.callback import BaseCallback

from benchmarks.search.runner import Asker, Task, run

# MIPROv2's own: a full evaluation after so many minibatch trials, and this many rows in one.
_STEPS_A_FULL, _MINIBATCH = 5, 35


class Answer(dspy.Signature):
    """Replaced by the seed's instruction."""

    note: str = dspy.InputField()
    answer: str = dspy.OutputField()


def search(task: Task) -> str:
    """Run one compilation whose trials use up the budget."""
    settings = task.settings
    asker = Asker(task.base_url)
    models = {
        name: dspy.LM(f"openai/{name}", api_base=task.base_url, api_key="none", cache=False, max_tokens=2000)
        for name in ("target", "reflection")
    }
    program = dspy.Predict(Answer.with_instructions(task.problem.seed_instruction))
    minibatch = min(settings.get("minibatch", _MINIBATCH), len(task.val))
    trials = trials_for(task.budget, len(task.val), minibatch)
    watch = _Watch(task)

    def metric(example: Any, prediction: Any, trace: Any = None) -> float:
        del trace
        return asker.score(task, example.row, str(prediction.answer))[0]

    train, val = ([_example(task, number) for number in part] for part in (task.train, task.val))
    optimizer = MIPROv2(
        metric,
        prompt_model=models["reflection"],
        task_model=models["target"],
        auto=None,
        num_candidates=settings.get("candidates", max(3, int(trials / 1.5))),
        num_threads=settings.get("threads", 8),
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        seed=task.number,
        track_stats=True,
    )
    with dspy.context(lm=models["target"], callbacks=[watch]):
        task.begin()
        found = optimizer.compile(
            program,
            trainset=train,
            valset=val,
            num_trials=trials,
            minibatch=True,
            minibatch_size=minibatch,
            minibatch_full_eval_steps=_STEPS_A_FULL,
        )
    best = str(found.signature.instructions)
    task.returns(best)
    return best


def trials_for(budget: int, val: int, minibatch: int) -> int:
    """Return how many trials a budget covers: the seed on all of val, then minibatches and full evaluations."""
    round_calls = _STEPS_A_FULL * minibatch + val
    return max(1, int((budget - val) / round_calls * _STEPS_A_FULL))


class _Watch(BaseCallback):
    """Notes the instruction with the best full evaluation so far, which is what MIPROv2 returns."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._running: dict[str, tuple[str, int]] = {}
        self._best = -1.0
        self._lock = threading.Lock()

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember what is evaluated."""
        rows = inputs.get("devset")
        self._running[call_id] = (
            str(inputs["program"].signature.instructions),
            len(instance.devset if rows is None else rows),
        )

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        """Take a full evaluation's score."""
        text, rows = self._running.pop(call_id)
        with self._lock:
            if exception is None and rows == len(self._task.val) and outputs.score > self._best:
                self._best = outputs.score
                self._task.returns(text)


def _example(task: Task, number: int) -> Any:
    return dspy.Example(note=task.problem.text(number), row=number).with_inputs("note")


if __name__ == "__main__":
    run(search, ["dspy", "optuna", "litellm"])
