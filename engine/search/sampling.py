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
from engine.search.history import Candidate, History


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

    def deal(self, chosen: Sequence[str] = ()) -> list[str]:
        """Return the next minibatch, which begins with the rows ``chosen`` already; no row stands in it twice."""
        batch = list(chosen[: self._size])
        for _ in range(2):  # what is left of the epoch, then the next one
            left = [row_id for row_id in self._left if row_id not in batch]
            short = self._size - len(batch)
            batch, self._left = batch + left[:short], left[short:]
            if len(batch) < self._size:
                self._left = list(self._ids)
                self._rng.shuffle(self._left)
        return batch


class PopulationSampling:
    """gepa's ``SamplingStrategy``: ``num_candidates`` tasks a step, spread over ``num_parents`` parents.

    The tasks of a parent share a minibatch, so that it is evaluated once for them and each of the proposers gets its
    turn on the same evidence. A parent is drawn once a step; again, on another minibatch, only where there are too few.
    A minibatch begins with rows whose answers by this parent are known from its own minibatch and were not shown yet:
    they cost nothing. Only what this search has asked is looked at, not the whole ledger, so that a search that is
    started again draws alike.
    """

    def __init__(
        self, history: History, *, num_candidates: int, num_parents: int, cursor: MinibatchCursor, seed: int
    ) -> None:
        self._history = history
        self._num_candidates = num_candidates
        self._num_parents = min(num_parents, num_candidates)
        self._cursor = cursor
        self._shown: dict[str, set[str]] = {}
        self._rng = random.Random(f"parents-{seed}")  # noqa: S311 - reproducible, not secret
        self.step = 0

    def sample_tasks(
        self, state: Any, candidate_selector: Any, batch_sampler: Any, trainset: DataLoader[str, Row]
    ) -> list[ProposalTask[str, Row]]:
        """Return the step's tasks. gepa's own selector and batch sampler are not asked."""
        del candidate_selector, batch_sampler
        self.step += 1
        pool: list[dict[str, str]] = list(state.program_candidates)
        parents = [self._history.of(components) for components in pool]
        tasks: list[ProposalTask[str, Row]] = []
        for turn, parent in enumerate(self._draw(self._history.pareto_counts(parents))):
            minibatch = self._minibatch(parents[parent])
            rows = trainset.fetch(minibatch)
            mutations = len(range(turn, self._num_candidates, self._num_parents))
            tasks.extend(ProposalTask(parent, pool[parent], minibatch, rows) for _ in range(mutations))
        return tasks

    def _draw(self, weights: Sequence[int]) -> list[int]:
        """Positions of the step's parents, drawn by weight, none twice before all with a weight were drawn."""
        drawn: list[int] = []
        left: dict[int, int] = {}
        for _ in range(self._num_parents):
            left = left or {at: weight for at, weight in enumerate(weights) if weight} or {0: 1}
            drawn.append(self._rng.choices(list(left), list(left.values()))[0])
            del left[drawn[-1]]
        return drawn

    def _minibatch(self, parent: Candidate) -> list[str]:
        shown = self._shown.setdefault(parent.candidate_id, set())
        known = [(r.score, row_id) for row_id, r in parent.train.items() if r.score is not None and row_id not in shown]
        failed = [row_id for score, row_id in known if score < 1.0]
        # Without a failure among them there is nothing to learn, at any price.
        minibatch = self._cursor.deal(failed + [row_id for score, row_id in known if score >= 1.0] if failed else ())
        shown.update(minibatch)
        return minibatch
