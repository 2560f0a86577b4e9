"""promptmill's search over a real ``Evaluation``; the Spark session is shared by the searches of a job.

``settings``: ``spark`` (False keeps every stage on the driver, through the same code), and ``search``: settings of the
search that are not the defaults.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.search.runner import Task, run
from engine.evaluate import SMALL_STAGE_ITEMS, Evaluation
from engine.proposers.build import build_proposers
from engine.proposers.reflection_client import ReflectionClient
from engine.record import StepLine
from engine.rows import Row
from engine.search.budget import Budget
from engine.search.loop import Search, SearchResult
from engine.session import SparkSettings, ship_udfs, spark_session
from engine.settings import BudgetSettings, SearchSettings
from engine.storage import Storage
from engine.usage import Usage
from udfs import event_loop
from udfs.endpoint import Endpoint, Limits, Sampling
from udfs.prompt import Prompt
from udfs.records import canonical_json, row_id
from udfs.scorers import build_mix

# The budget ends a search; this many steps only end one whose steps cost nothing any more.
_MAX_STEPS = 200


def search(task: Task) -> str:
    """Run one search."""
    settings = SearchSettings(**{"max_steps": _MAX_STEPS, "seed": task.number, **task.settings.get("search", {})})
    spark: Any = _session() if task.settings.get("spark", True) else None
    train, val = [_row(task, number) for number in task.train], [_row(task, number) for number in task.val]
    usage, storage = Usage(), Storage.at(str(task.folder), str(task.folder / "run"))
    scorers = [{"judge": "equivalence"}] if task.problem.judged else ["exact_match"]
    task.begin()
    evaluation = Evaluation(
        spark,
        _endpoint(task, "target"),
        build_mix(scorers, _endpoint(task, "judge")),
        storage,
        "run",
        usage=usage,
        small_stage_items=SMALL_STAGE_ITEMS if spark is not None else 10**9,
        local_row_ids=frozenset(row.row_id for row in (*train, *val)),
    )
    client = ReflectionClient(_endpoint(task, "reflection"), storage.ledger, run_id="run", usage=usage)
    steps: list[tuple[StepLine, int, float]] = []
    began = time.perf_counter()
    found = Search(
        seed=Prompt.parse(task.problem.seed_template),
        train=train,
        val=val,
        evaluation=evaluation,
        proposers=build_proposers(settings, train, client),
        budget=Budget(BudgetSettings(max_metric_calls=task.budget), usage, lambda: 0.0, time.monotonic),
        settings=settings,
        min_coverage=0.98,
        on_step=lambda line: steps.append((line, task.counters()["metric_calls"], time.perf_counter() - began)),
    ).run()
    event_loop.run(client.flush())
    for line, calls, seconds in steps:
        task.returns(_best_at(found, line), calls=calls, seconds=seconds)
    best = str(found.best.prompt.text())
    task.returns(best)
    return best


def _best_at(found: SearchResult, line: StepLine) -> str:
    """Return the text of the prompt that led when a step had ended."""
    history = found.history
    return str(next(one for one in history.candidates if one.label == line.best_label).prompt.text())


def _session() -> Any:
    session = spark_session(SparkSettings(master="local[2]", conf={"spark.ui.enabled": "false"}))
    ship_udfs(session)
    return session


def _row(task: Task, number: int) -> Row:
    values = {"note": task.problem.text(number)}
    expected = {"expected_response": task.problem.expected(number)}
    return Row(row_id(values), canonical_json(values), canonical_json(expected))


def _endpoint(task: Task, name: str) -> Endpoint:
    sampling = Sampling(temperature=0.7, max_tokens=500) if name == "reflection" else Sampling(0.0, max_tokens=24)
    # A real model on the same two cores reads a reflection's 6,000 tokens in a minute or more.
    limits = Limits(timeout_s=900.0, deadline_s=3600.0) if task.settings.get("rows") else Limits()
    return Endpoint(name, base_url=task.base_url, sampling=sampling, limits=limits)


if __name__ == "__main__":
    run(search, ["gepa", "pyspark"])
