"""A search over the planted world without Spark: every stage runs on the driver, through the very same code."""

from __future__ import annotations

import time
from pathlib import Path

import planted_world as world

from engine.evaluate import Evaluation
from engine.ledger_join import Reuse
from engine.progress import Progress
from engine.proposers.build import build_proposers
from engine.proposers.reflection_client import ReflectionClient
from engine.rows import Row
from engine.scripted_endpoint import ScriptedEndpoint
from engine.search.budget import Budget
from engine.search.loop import Search, SearchResult
from engine.settings import BudgetSettings, SearchSettings
from engine.storage import Storage
from engine.usage import Usage
from udfs import event_loop
from udfs.endpoint import Endpoint, Limits, Sampling
from udfs.prompt import Prompt
from udfs.records import canonical_json, row_id
from udfs.scorers import build_mix

LIMITS = Limits(timeout_s=10, deadline_s=20)


def rows(start: int, count: int) -> list[Row]:
    return [
        Row(row_id(r["inputs"]), canonical_json(r["inputs"]), canonical_json(r["expectations"]))
        for r in world.records(start + count)[start:]
    ]


def endpoint(server: ScriptedEndpoint, name: str) -> Endpoint:
    return Endpoint(name, base_url=server.base_url, sampling=Sampling(temperature=0.0, max_tokens=16), limits=LIMITS)


def run_search(
    folder: Path,
    target: ScriptedEndpoint,
    reflection: ScriptedEndpoint,
    *,
    run_id: str = "run",
    budget: BudgetSettings | None = None,
    train: list[Row] | None = None,
    val: list[Row] | None = None,
    progress: Progress | None = None,
    reserved_calls: int = 0,
    reuse: Reuse | None = None,
    seed: str = world.SEED,
    seed_prompt: Prompt | None = None,
    min_coverage: float = 0.98,
    target_endpoint: Endpoint | None = None,
    **settings: object,
) -> tuple[SearchResult, Usage]:
    """Run one search; the ledger is in ``folder``."""
    search_settings = SearchSettings(**{"num_candidates": 3, "max_steps": 2, "minibatch_size": 4, **settings})
    usage = Usage()
    storage = Storage.at(str(folder), str(folder / "run"))
    evaluation = Evaluation(
        None,  # type: ignore[arg-type]  # small_stage_items keeps every stage off Spark
        target_endpoint or endpoint(target, "target"),
        build_mix(["exact_match"], None),
        storage,
        run_id,
        progress or Progress(),
        usage,
        small_stage_items=10**9,
        reuse=reuse or Reuse(),
    )
    train = rows(0, 24) if train is None else train
    val = rows(24, 12) if val is None else val
    evaluation.local_row_ids = frozenset(row.row_id for row in (*train, *val))
    allowed = Budget(budget or BudgetSettings(), usage, lambda: 0.0, time.monotonic, reserved_calls=reserved_calls)
    client = ReflectionClient(
        endpoint(reflection, "reflection"),
        storage.ledger,
        run_id=run_id,
        usage=usage,
        replay=evaluation.reuse.replay,
        allowance=allowed.allowance,
    )
    search = Search(
        seed=seed_prompt or Prompt.parse(seed),
        train=train,
        val=val,
        evaluation=evaluation,
        proposers=build_proposers(search_settings, train, client, target="small-1b"),
        budget=allowed,
        settings=search_settings,
        min_coverage=min_coverage,
    )
    try:
        return search.run(), usage
    finally:
        event_loop.run(client.flush())
