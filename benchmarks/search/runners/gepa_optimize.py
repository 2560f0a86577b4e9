"""``gepa.optimize`` as it ships, over an adapter like its DefaultAdapter that asks the worlds' endpoint.

``settings``: ``threads`` (1: rows one after another), ``proposals`` (of a step, gepa's own parallel proposals), and
``gepa``: keyword arguments for ``gepa.optimize``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gepa
from gepa.core.adapter import EvaluationBatch
from gepa.strategies.proposal_sampling import IndependentSampling

from benchmarks.search.gepa_watch import GepaWatch
from benchmarks.search.runner import Asker, Task, run

Batch = EvaluationBatch[dict[str, Any], str]


class Adapter:
    """Asks and scores row by row; with several threads, many rows at once."""

    propose_new_texts = None

    def __init__(self, task: Task, asker: Asker, pool: ThreadPoolExecutor | None) -> None:
        self._task = task
        self._asker = asker
        self._pool = pool
        if pool is not None:
            # Without this attribute gepa evaluates the candidates of a stage one after another.
            self.batch_evaluate = self._batch_evaluate

    def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Batch:
        """Evaluate one candidate on some rows."""
        del capture_traces
        return self._batch(
            [self._one(candidate, row) for row in batch]
            if self._pool is None
            else self._many([(candidate, row) for row in batch])
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Batch, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return what DefaultAdapter does: inputs, outputs and feedback of each row."""
        del candidate
        return dict.fromkeys(components_to_update, eval_batch.trajectories or [])

    def _batch_evaluate(
        self, items: list[tuple[dict[str, str], list[int]]], *, capture_traces: bool = True, **_: Any
    ) -> list[Batch]:
        del capture_traces
        found = iter(self._many([(candidate, row) for candidate, rows in items for row in rows]))
        return [self._batch([next(found) for _ in rows]) for _, rows in items]

    def _many(self, pairs: list[tuple[dict[str, str], int]]) -> list[tuple[int, str, float, str]]:
        assert self._pool is not None  # noqa: S101 - the callers ask
        return list(self._pool.map(lambda pair: self._one(*pair), pairs))

    def _one(self, candidate: dict[str, str], row: int) -> tuple[int, str, float, str]:
        output = self._asker.ask("target", ("system", candidate["instruction"]), ("user", self._task.problem.text(row)))
        return row, output, *self._asker.score(self._task, row, output)

    def _batch(self, found: list[tuple[int, str, float, str]]) -> Batch:
        traces = [
            {"Inputs": self._task.problem.text(row), "Generated Outputs": out, "Feedback": said}
            for row, out, _, said in found
        ]
        return EvaluationBatch(
            outputs=[out for _, out, _, _ in found], scores=[score for _, _, score, _ in found], trajectories=traces
        )


class Quiet:
    """gepa's logger: nothing is printed."""

    def log(self, message: str) -> None:
        """Drop a line."""


class Reflection:
    """The reflection model as gepa wants it: a batch of requests goes out at once."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def __call__(self, prompt: str) -> str:
        """Ask one thing."""
        return self._asker.ask("reflection", ("user", prompt))

    def batch_complete(self, messages_list: list[list[dict[str, str]]], **_: Any) -> list[str]:
        """Ask many things at once, as gepa's own LM does (at most ten)."""
        with ThreadPoolExecutor(10) as pool:
            return list(pool.map(lambda messages: self(messages[0]["content"]), messages_list))


def search(task: Task) -> str:
    """Run one optimization."""
    settings = task.settings
    asker = Asker(task.base_url)
    threads, proposals = settings.get("threads", 1), settings.get("proposals", 1)
    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    task.begin()
    found = gepa.optimize(
        seed_candidate={"instruction": task.problem.seed_instruction},
        trainset=list(task.train),
        valset=list(task.val),
        adapter=Adapter(task, asker, pool),
        reflection_lm=Reflection(asker),
        max_metric_calls=task.budget,
        stop_callbacks=[GepaWatch(task, "instruction")],
        sampling_strategy=IndependentSampling(proposals) if proposals > 1 else None,
        logger=Quiet(),
        seed=task.number,
        **settings.get("gepa", {}),
    )
    best = str(found.best_candidate["instruction"])
    task.returns(best)
    if pool is not None:
        pool.shutdown()
    return best


if __name__ == "__main__":
    run(search, ["gepa"])
