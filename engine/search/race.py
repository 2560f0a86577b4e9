"""The race on val: a step's accepted candidates against the best so far, on shards that grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.errors import BudgetSpent
from engine.progress import Progress
from engine.search.adapter import EngineAdapter
from engine.search.history import Candidate, History

# The first shard: fewer rows seldom decide anything, see `tests/engine/search/test_race.py`.
FIRST_ROWS = 16
# Each look at the race is at so many times the rows of the one before: five looks for 300 rows.
_GROWTH = 2


def looks(rows: int, *, first: int = FIRST_ROWS) -> Iterator[int]:
    """Yield the numbers of rows after which the race is looked at; the last one is ``rows``.

    >>> list(looks(100))
    [16, 32, 64, 100]
    """
    at = first
    while at < rows:
        yield at
        at *= _GROWTH
    yield rows


class Race:
    """Races challengers against the history's leader; all those still in it are asked for a shard in one stage.

    After each shard it is looked at the chance that each, the leader too, has to come out ahead of the front-runner on
    all of val (:func:`engine.search.curtailment.chance_ahead`). Under ``early_stop`` a challenger is dropped, and the
    leader gives its place to the front-runner, which ends the race. So does a race without challengers, and the end of
    val. As the chance is a forecast given what was seen, of the dropped ones at most that share would have come out
    ahead, however often one looks. With ``early_stop`` 0 everything is run in full.

    The dropped ones keep their rows: they may still be the best on some of them, which is what parents are drawn by.
    """

    def __init__(self, history: History, adapter: EngineAdapter, progress: Progress, *, early_stop: float) -> None:
        self._history = history
        self._adapter = adapter
        self._progress = progress
        self._early_stop = early_stop

    @property
    def looks(self) -> list[int]:
        """The numbers of rows after which the race is looked at."""
        rows = len(self._history.val)
        return list(looks(rows)) if self._early_stop else [rows]

    def run(self, challengers: Sequence[Candidate]) -> None:
        """Race; ``history.leader`` is the best of all when it ends.

        Raises:
            BudgetSpent: the budget ended it; the leader is the best by then.
            CoverageError: too few rows of a candidate could be scored.
        """
        running = list(challengers)
        for rows in self.looks:
            running = self._covered(running, rows)
            self._ask([self._history.leader, *running], rows)
            running = self._look(running, rows)
            if not running:
                return

    def complete(self) -> None:
        """Run the leader and the seed on all of val; should the seed, or another that was, be ahead, it leads again.

        Raises:
            BudgetSpent: the budget does not cover it.
            CoverageError: too few rows of one of them could be scored.
        """
        history = self._history
        self._ask(history.finalists, len(history.val))
        for candidate in history.candidates:
            if history.is_complete(candidate) and history.differences(candidate, history.leader).mean > 0:
                history.leader = candidate

    def _ask(self, candidates: Sequence[Candidate], rows: int) -> None:
        pairs = [(c.prompt, lacking) for c in candidates if (lacking := self._history.lacking(c, rows))]
        if pairs:
            self._adapter.ask(pairs, stage=self._adapter.stage_on_val)

    def _covered(self, running: list[Candidate], rows: int) -> list[Candidate]:
        """Those that the budget covers for the next shard, the most promising first, in their order.

        Whoever leads after the shard must be able to complete val, beside the seed: a winner is measured on all of it.
        """
        history = self._history
        promising = sorted(running, key=lambda c: -history.ahead(c, history.leader))
        need = len(history.lacking(history.leader, rows)) + len(history.val) - rows
        if history.leader is not history.seed:
            need += len(history.lacking(history.seed))
        else:
            need += len(history.val) - rows
        covered: list[Candidate] = []
        for candidate in promising:
            need += len(history.lacking(candidate, rows))
            if self._adapter.affordable(need) < need:
                break
            covered.append(candidate)
        if not covered:
            raise BudgetSpent(f"it does not cover {rows} val rows of another candidate")
        return [candidate for candidate in running if candidate in covered]

    def _look(self, running: list[Candidate], rows: int) -> list[Candidate]:
        history = self._history
        leader = front = history.leader
        for candidate in running:
            if history.differences(candidate, front).mean > 0:
                front = candidate
        whole = rows == len(history.val)
        dethroned = front is not leader and (whole or history.ahead(leader, front) < self._early_stop)
        if dethroned:
            history.leader = front
        if dethroned or whole:
            for candidate in running:
                self._tell(candidate, rows, "leads" if candidate is history.leader else "")
            return []
        staying = []
        for candidate in running:
            if candidate is not front and history.ahead(candidate, front) < self._early_stop:
                self._tell(candidate, rows, "dropped")
            else:
                staying.append(candidate)
        return staying

    def _tell(self, candidate: Candidate, rows: int, fate: str) -> None:
        score = self._history.val_score(candidate)
        shown = "unscored" if score is None else f"{score:.3f}"
        on = f"{rows} val rows" if rows == len(self._history.val) else f"{rows} of {len(self._history.val)} val rows"
        self._progress.tell(f"{candidate.label} ({candidate.proposer}): {shown} on {on}{fate and ', '}{fate}")
