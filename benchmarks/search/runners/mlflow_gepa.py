"""``mlflow.genai.optimize_prompts`` with its ``GepaPromptOptimizer``; MLflow patches a class, so one search at a time.

``settings``: ``tracing`` (True as it comes) and ``workers``.
"""

from __future__ import annotations

import os
from typing import Any

import mlflow
from mlflow.genai.optimize import GepaPromptOptimizer
from mlflow.genai.scorers import scorer

from benchmarks.search.gepa_watch import GepaWatch
from benchmarks.search.runner import Asker, Task, run

_NAME = "answer"


def search(task: Task) -> str:
    """Run one optimization, from a registered prompt to a registered prompt."""
    settings = task.settings
    if "workers" in settings:
        os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = str(settings["workers"])
    # gepa's own client of the reflection model reads these.
    os.environ |= {"OPENAI_API_BASE": task.base_url, "OPENAI_API_KEY": "none"}
    mlflow.set_tracking_uri(f"sqlite:///{task.folder}/mlflow.db")
    mlflow.set_experiment("search")
    if not settings.get("tracing", True):
        # After the experiment is set, which would switch them on again.
        mlflow.tracing.disable()
    asker = Asker(task.base_url)
    prompt = mlflow.genai.register_prompt(name=_NAME, template=task.problem.seed_template)
    row_of = {task.problem.text(number): number for number in (*task.train, *task.val)}

    def predict(note: str) -> str:
        return asker.ask("target", ("user", prompt.format(note=note)))

    @scorer
    def right(inputs: dict[str, Any], outputs: str) -> Any:
        score, said = asker.score(task, row_of[inputs["note"]], outputs)
        return mlflow.entities.Feedback(value=score, rationale=said)

    train, val = ([_record(task, number) for number in part] for part in (task.train, task.val))
    watch = GepaWatch(task, _NAME)
    optimizer = GepaPromptOptimizer(
        "openai:/reflection",
        max_metric_calls=task.budget,
        gepa_kwargs={"valset": val, "seed": task.number, "stop_callbacks": [watch]},
    )
    task.begin()
    found = mlflow.genai.optimize_prompts(
        predict_fn=predict,
        train_data=train,
        prompt_uris=[prompt.uri],
        optimizer=optimizer,
        scorers=[right],
        enable_tracking=settings.get("tracing", True),
    )
    best = str(found.optimized_prompts[0].template)
    task.returns(best)
    return best


def _record(task: Task, number: int) -> dict[str, Any]:
    problem = task.problem
    return {"inputs": {"note": problem.text(number)}, "expectations": {"expected_response": problem.expected(number)}}


if __name__ == "__main__":
    run(search, ["mlflow", "gepa", "litellm"])
