"""gepa's acceptance of a proposal, on rows that were scored for parent and child alike."""

from __future__ import annotations

from typing import Any

from engine.search.history import History
from udfs.prompt import candidate_id
from udfs.rollout import Rollout


class PairedImprovement:
    """Accepts a child that does strictly better than its parent on the rows of its minibatch scored for both."""

    def __init__(self, history: History) -> None:
        self._history = history

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Return True for a child worth scoring on val; notes the verdict with the candidate."""
        del state
        before, after = _paired(proposal)
        candidate = self._history.get(candidate_id(proposal.candidate))
        if before is None or after is None:
            candidate.status, candidate.reason = "rejected", "no row of its minibatch was scored for both"
            return False
        candidate.minibatch_before, candidate.minibatch_after = before, after
        if after > before:
            candidate.status, candidate.reason = "accepted", ""
            return True
        candidate.status = "rejected"
        candidate.reason = f"no better than its parent on its minibatch ({before:.3f} -> {after:.3f})"
        return False

    def reject_reason(self, proposal: Any, state: Any) -> str:
        """Return why, for gepa's log."""
        del state
        return self._history.get(candidate_id(proposal.candidate)).reason


def _paired(proposal: Any) -> tuple[float | None, float | None]:
    """Return the two means over the rows scored for both."""
    before: dict[str, Rollout] = {r.row_id: r for r in proposal.eval_before.outputs}
    pairs = [
        (before[r.row_id].score, r.score)
        for r in proposal.eval_after.outputs
        if r.row_id in before and before[r.row_id].score is not None and r.score is not None
    ]
    if not pairs:
        return None, None
    return sum(b for b, _ in pairs if b is not None) / len(pairs), sum(a for _, a in pairs) / len(pairs)
