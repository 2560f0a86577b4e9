"""The search's history as proposers see it: prompts and scores, and of val no row."""

from __future__ import annotations

from engine.proposers.protocol import Attempt
from engine.search.history import Candidate, History


def attempts(history: History) -> tuple[Attempt, ...]:
    """Return what was scored so far, in the order it came up.

    A candidate that did not go to val has the score of its parent there, moved by what its minibatch said.
    """
    by_label = {candidate.label: candidate for candidate in history.candidates}
    found = []
    for candidate in history.candidates:
        score = history.val_score(candidate)
        known = score if score is not None else _estimated(history, by_label, candidate)
        if known is not None:
            found.append(Attempt(candidate.prompt, candidate.proposer, known, score is not None, dict(candidate.train)))
    return tuple(found)


def _estimated(history: History, by_label: dict[str, Candidate], candidate: Candidate) -> float | None:
    before, after = candidate.minibatch_before, candidate.minibatch_after
    if before is None or after is None or not candidate.parents:
        return None
    parent = history.val_score(by_label[candidate.parents[0]])
    return None if parent is None else min(1.0, max(0.0, parent + after - before))
