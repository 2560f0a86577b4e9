"""gepa's acceptance of a proposal, on rows that were scored for parent and child alike."""

from __future__ import annotations

from typing import Any

from engine.search.curtailment import minibatch_verdict
from engine.search.history import History
from udfs.rollout import Rollout


class PairedImprovement:
    """Accepts a child that does strictly better than its parent on the rows of its minibatch scored for both.

    Rows that the child was not asked for, because they could change nothing, are not among them.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Return True for a child worth racing on val; notes the verdict with the candidate."""
        del state
        pairs = _paired(proposal)
        candidate = self._history.of(proposal.candidate)
        if not pairs:
            candidate.status, candidate.reason = "rejected", "no row of its minibatch was scored for both"
            return False
        before, after = (sum(scores) / len(pairs) for scores in zip(*pairs, strict=True))
        candidate.minibatch_before, candidate.minibatch_after = before, after
        if minibatch_verdict([one - other for other, one in pairs], ()):
            candidate.status, candidate.reason = "accepted", ""
            return True
        rows = len(proposal.eval_after.outputs)
        on = f", on {len(pairs)} of its {rows} rows" if len(pairs) < rows else ""
        candidate.status = "rejected"
        candidate.reason = f"no better than its parent on its minibatch ({before:.3f} -> {after:.3f}{on})"
        return False

    def reject_reason(self, proposal: Any, state: Any) -> str:
        """Return why, for gepa's log."""
        del state
        return self._history.of(proposal.candidate).reason


def _paired(proposal: Any) -> list[tuple[float, float]]:
    """Return the two scores of each row scored for both."""
    before: dict[str, Rollout] = {r.row_id: r for r in proposal.eval_before.outputs}
    return [
        (score, r.score)
        for r in proposal.eval_after.outputs
        if r.row_id in before and (score := before[r.row_id].score) is not None and r.score is not None
    ]
