"""The search's history as proposers see it: prompts and scores, and of val no row."""

from __future__ import annotations

from engine.proposers.protocol import Attempt
from engine.search.history import Candidate, History


def attempts(history: History) -> tuple[Attempt, ...]:
    """Return what was scored so far, in the order it came up.

    A candidate that was scored on the whole of val, as the seed was, has its mean there. One that was not has the score
    of its parent, moved by how the two differ on the val rows scored for both, or else by what its minibatch said.
    """
    scores: dict[str, float] = {}
    found = []
    for candidate in history.candidates:
        whole = len(candidate.val) >= len(history.seed.val) > 0
        score = history.val_score(candidate) if whole else _estimated(history, scores, candidate)
        if score is not None:
            scores[candidate.label] = score
            found.append(Attempt(candidate.prompt, candidate.proposer, score, whole, dict(candidate.train)))
    return tuple(found)


def val_difference(one: Candidate, other: Candidate) -> float | None:
    """Return the mean difference in score, ``one`` minus ``other``, over the val rows that were scored for both."""
    shared = [
        rollout.score - counterpart.score
        for row_id, rollout in one.val.items()
        if (counterpart := other.val.get(row_id)) is not None
        and rollout.score is not None
        and counterpart.score is not None
    ]
    return sum(shared) / len(shared) if shared else None


def _estimated(history: History, scores: dict[str, float], candidate: Candidate) -> float | None:
    parent = next((one for one in history.candidates if one.label in candidate.parents), None)
    if parent is None or parent.label not in scores:
        return None
    difference = val_difference(candidate, parent)
    if difference is None:
        before, after = candidate.minibatch_before, candidate.minibatch_after
        if before is None or after is None:
            return None
        difference = after - before
    return min(1.0, max(0.0, scores[parent.label] + difference))
