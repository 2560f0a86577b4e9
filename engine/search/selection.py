"""gepa's selection and val policy, served by the race: what gepa books of a candidate is what was really scored."""

from __future__ import annotations

from typing import Any

from gepa.core.data_loader import DataLoader

from engine.rows import Row
from engine.search.history import History
from engine.search.race import Race


class RacedSelection:
    """gepa's ``SelectionStrategy`` and ``EvaluationPolicy`` in one: accepted proposals are raced on val.

    gepa would ask for all of val for each of them. It is told instead which rows the race has run, candidate by
    candidate in the order in which it asks, and is served from history: it sees no made-up score.
    """

    def __init__(self, history: History, race: Race) -> None:
        self._history = history
        self._race = race
        self._awaited: list[list[str]] = []

    def select(self, proposals: list[Any], state: Any, acceptance_criterion: Any) -> list[Any]:
        """Return the accepted proposals, which have been raced.

        Raises:
            BudgetSpent: the budget ended the race.
            CoverageError: too few rows of a candidate could be scored.
        """
        chosen: dict[str, Any] = {}
        for proposal in proposals:
            if acceptance_criterion.should_accept(proposal, state):
                # gepa books each text once: its questions for rows come in this order.
                chosen.setdefault(self._history.of(proposal.candidate).candidate_id, proposal)
        candidates = [self._history.get(candidate_id) for candidate_id in chosen]
        if candidates:
            self._race.run(candidates)
        self._awaited = [[row.row_id for row in self._history.val if row.row_id in c.val] for c in candidates]
        return list(chosen.values())

    def get_seed_eval_batch(self, loader: DataLoader[str, Row]) -> list[str]:
        """Return the first shard."""
        del loader
        return [row.row_id for row in self._history.val[: self._race.looks[0]]]

    def get_eval_batch(
        self, loader: DataLoader[str, Row], state: Any, target_program_idx: int | None = None
    ) -> list[str]:
        """Return the rows of the next selected candidate; gepa asks once for each, in order."""
        del loader, state, target_program_idx
        return self._awaited.pop(0)

    def get_best_program(self, state: Any) -> int:
        """Return the leader's place in gepa's pool, that of the seed where it is not in it yet."""
        pool = [self._history.of(components) for components in state.program_candidates]
        return next((at for at, candidate in enumerate(pool) if candidate is self._history.leader), 0)

    def get_valset_score(self, program_idx: int, state: Any) -> float:
        """Return the mean over the rows that were run; for gepa's log."""
        return float(state.get_program_average_val_subset(program_idx)[0])
