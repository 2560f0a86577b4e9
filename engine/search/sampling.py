"""Our own sampler for gepa: parents, and minibatches of rows whose answers are known, mostly failures.

gepa's sampler hands K-1 of K minibatches out twice and its random stream starts anew on resume; this one keeps a
cursor, and its choices depend on the seed, the step and the history alone. A search that is started again therefore
walks the same way, its answers coming from the ledger.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from typing import Any

from gepa.core.data_loader import DataLoader
from gepa.strategies.proposal_sampling import ProposalTask

from engine.rows import Row
from engine.search.adapter import EngineAdapter
from engine.search.history import Candidate, History
from engine.settings import SearchSettings

# A parent with few failures is asked for fresh rows in so many rounds a step, a minibatch each at most; what is missing
# then comes in later steps.
ROUNDS = 3
# So many failures are kept from reflection and tested on.
_UNSHOWN_FAILURES = 2


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
    """Deals rows from a shuffled pool; every row comes once before any comes twice.

    >>> cursor = MinibatchCursor(["a", "b", "c", "d"], seed=0)
    >>> sorted(cursor.deal(2) + cursor.deal(2))
    ['a', 'b', 'c', 'd']
    """

    def __init__(self, ids: Sequence[str], *, seed: int) -> None:
        self._ids = sorted(ids)
        self._rng = random.Random(f"minibatches-{seed}")  # noqa: S311 - reproducible, not secret
        self._left: list[str] = []

    def deal(self, count: int, *, without: Collection[str] = ()) -> list[str]:
        """Return the next ``count`` rows that are not among ``without``, fewer where there are no more; none twice."""
        dealt: list[str] = []
        for _ in range(2):  # what is left of the epoch, then the next one
            fit = [row_id for row_id in self._left if row_id not in without and row_id not in dealt]
            taken = fit[: count - len(dealt)]
            dealt += taken
            self._left = [row_id for row_id in self._left if row_id not in taken]
            if len(dealt) < count:
                fresh = list(self._ids)
                self._rng.shuffle(fresh)
                # Rows that were passed over keep their place, before those of the next epoch.
                self._left += [row_id for row_id in fresh if row_id not in self._left]
        return dealt


class PopulationSampling:
    """gepa's ``SamplingStrategy``: ``num_candidates`` tasks a step, on rows whose answers by the parent are known.

    The leader is always a parent; each of ``num_parents - 1`` others, drawn by the val rows on which nobody does
    better, gets one of the tasks. A parent is asked for training rows until enough of its failures are known; one that
    was a child brings those that it was tested on. A task's minibatch is made of them: first ``minibatch_size`` rows
    for reflection to see, mostly failures, then rows to test the child on: failures that were not shown, so that an
    edit that only knows the shown ones by heart fails, and rows that the parent has right.

    Only what this search has asked is looked at, not the whole ledger, so that a search that is started again draws
    alike.
    """

    def __init__(
        self, history: History, adapter: EngineAdapter, train: Sequence[Row], settings: SearchSettings
    ) -> None:
        self._history = history
        self._adapter = adapter
        self._train = {row.row_id: row for row in train}
        self._settings = settings
        self._cursor = MinibatchCursor(list(self._train), seed=settings.seed)
        self._rng = random.Random(f"parents-{settings.seed}")  # noqa: S311 - reproducible, not secret
        self.step = 0

    def sample_tasks(
        self, state: Any, candidate_selector: Any, batch_sampler: Any, trainset: DataLoader[str, Row]
    ) -> list[ProposalTask[str, Row]]:
        """Return the step's tasks. gepa's own selector and batch sampler are not asked.

        Raises:
            BudgetSpent: the budget does not cover what parents must be asked for.
            CoverageError: too few rows could be scored.
        """
        del candidate_selector, batch_sampler
        self.step += 1
        pool = [self._history.of(components) for components in state.program_candidates]
        parents = self._draw(pool)
        self._learn(list({parent.candidate_id: parent for parent in parents}.values()))
        tasks: list[ProposalTask[str, Row]] = []
        for parent in parents:
            minibatch = self._minibatch(parent)
            at = pool.index(parent)
            tasks.append(ProposalTask(at, state.program_candidates[at], minibatch, trainset.fetch(minibatch)))
        return tasks

    def _draw(self, pool: Sequence[Candidate]) -> list[Candidate]:
        """The parent of each task; those of the leader come first, and no other comes twice."""
        leader = self._history.leader
        weights = dict(zip(range(len(pool)), self._history.pareto_counts(pool), strict=True))
        left = {at: weight for at, weight in weights.items() if weight and pool[at] is not leader}
        others: list[Candidate] = []
        while left and len(others) < min(self._settings.num_parents, self._settings.num_candidates) - 1:
            at = self._rng.choices(list(left), list(left.values()))[0]
            others.append(pool[at])
            del left[at]
        return [leader] * (self._settings.num_candidates - len(others)) + others

    def _learn(self, parents: Sequence[Candidate]) -> None:
        """Ask the parents for fresh rows until enough failures are known of each, in a few rounds at most."""
        for _ in range(ROUNDS):
            fresh = [(parent.prompt, rows) for parent in parents if (rows := self._wanted(parent))]
            if not fresh:
                return
            self._adapter.ask(fresh, stage=f"step {self.step}: parents")

    def _wanted(self, parent: Candidate) -> list[Row]:
        known, failed = len(parent.train_scores), len(parent.failures)
        size = self._settings.minibatch_size
        short = _shown_failures(size) + _UNSHOWN_FAILURES - failed
        if short <= 0 and known >= 2 * size:
            return []
        # As many as bring what is short at the rate of failures so far, but no more than a minibatch at once.
        rate = (failed + 1) / (known + 2)
        count = min(size, max(math.ceil(short / rate), 2 * size - known))
        return [self._train[row_id] for row_id in self._cursor.deal(count, without=parent.train)]

    def _minibatch(self, parent: Candidate) -> list[str]:
        size = self._settings.minibatch_size
        failed = self._shuffled(parent.failures)
        right = self._shuffled(parent.train_scores.keys() - parent.failures)
        kept = _UNSHOWN_FAILURES if len(failed) > _UNSHOWN_FAILURES else 0
        shown = failed[: min(max(_shown_failures(size), size - len(right)), len(failed) - kept)]
        shown += right[: size - len(shown)]
        tested = failed[-kept:] if kept else []
        return list(dict.fromkeys([*shown, *tested, *right[:size]]))

    def _shuffled(self, ids: Collection[str]) -> list[str]:
        ordered = sorted(ids)
        self._rng.shuffle(ordered)
        return ordered


def _shown_failures(minibatch_size: int) -> int:
    """Of the rows that reflection sees: all but one in four, which show what is right already."""
    return max(1, minibatch_size - minibatch_size // 4)
