"""Our own sampler for gepa: P parents and N mutations each, on minibatches that never repeat within an epoch.

gepa's sampler hands K-1 of K minibatches out twice and its random stream starts anew on resume; this one keeps a
cursor, and its choices depend on the seed, the step and the history alone. A search that is started again therefore
walks the same way, its answers coming from the ledger.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from gepa.core.data_loader import DataLoader
from gepa.strategies.proposal_sampling import ProposalTask

from engine.rows import Row
from engine.search.history import History
from udfs.prompt import candidate_id


class RowLoader:
    """Rows under their own ids, which are unique across train and val.

    gepa numbers both lists from 0, and 0.1.4 then serves train rollouts as val scores from its cache.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {row.row_id: row for row in rows}

    def all_ids(self) -> list[str]:
        """Return the ids in order."""
        return list(self._rows)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows with these ids."""
        return [self._rows[row_id] for row_id in ids]

    def __len__(self) -> int:
        return len(self._rows)


class MinibatchCursor:
    """Deals minibatches from a shuffled pool; every row comes once before any comes twice.

    >>> cursor = MinibatchCursor(["a", "b", "c", "d"], size=2, seed=0)
    >>> sorted(cursor.deal() + cursor.deal())
    ['a', 'b', 'c', 'd']
    """

    def __init__(self, ids: Sequence[str], *, size: int, seed: int) -> None:
        self._ids = sorted(ids)
        self._size = min(size, len(self._ids))
        self._rng = random.Random(f"minibatches-{seed}")  # noqa: S311 - reproducible, not secret
        self._left: list[str] = []

    def deal(self) -> list[str]:
        """Return the next minibatch; no row stands in it twice."""
        batch, self._left = self._left[: self._size], self._left[self._size :]
        if len(batch) < self._size:
            fresh = list(self._ids)
            self._rng.shuffle(fresh)
            short = self._size - len(batch)
            fill = [row_id for row_id in fresh if row_id not in batch][:short]
            batch += fill
            self._left = [row_id for row_id in fresh if row_id not in fill]
        return batch


class PopulationSampling:
    """gepa's ``SamplingStrategy``: ``num_candidates`` tasks a step.

    ``mutations`` tasks share a parent and a minibatch, so that the parent is evaluated once for them and each of the
    proposers gets its turn on the same evidence.
    """

    def __init__(
        self, history: History, *, num_candidates: int, mutations: int, cursor: MinibatchCursor, seed: int
    ) -> None:
        self._history = history
        self._num_candidates = num_candidates
        self._mutations = max(1, min(mutations, num_candidates))
        self._cursor = cursor
        self._rng = random.Random(f"parents-{seed}")  # noqa: S311 - reproducible, not secret
        self.step = 0

    def sample_tasks(
        self, state: Any, candidate_selector: Any, batch_sampler: Any, trainset: DataLoader[str, Row]
    ) -> list[ProposalTask[str, Row]]:
        """Return the step's tasks. gepa's own selector and batch sampler are not asked."""
        del candidate_selector, batch_sampler
        self.step += 1
        pool: list[dict[str, str]] = list(state.program_candidates)
        weights = self._history.pareto_counts([candidate_id(components) for components in pool])
        tasks: list[ProposalTask[str, Row]] = []
        while len(tasks) < self._num_candidates:
            parent = self._rng.choices(range(len(pool)), weights if any(weights) else None)[0]
            ids = self._cursor.deal()
            rows = trainset.fetch(ids)
            mutations = min(self._mutations, self._num_candidates - len(tasks))
            tasks.extend(ProposalTask(parent, pool[parent], ids, rows) for _ in range(mutations))
        return tasks
