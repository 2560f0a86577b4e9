"""What each proposer has brought so far, and at what price: read from the search's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.search.attempts import val_difference
from engine.search.history import Candidate, History


@dataclass(frozen=True)
class ProposerStatistics:
    """One proposer's account.

    ``proposals`` are all it made, ``refused`` those that the guards stopped, ``accepted`` those that went to val.
    ``gain`` adds up by how much these did better there than their parents, and never counts below 0. ``calls`` are
    those to the reflection model, and the evaluations on minibatches and on val.
    """

    name: str
    proposals: int = 0
    refused: int = 0
    accepted: int = 0
    gain: float = 0.0
    calls: int = 0

    def told(self) -> str:
        """Return the account as a line for people.

        >>> ProposerStatistics("gepa", 3, 1, 1, 0.25, 40).told()
        'gepa: 3 proposals, 1 refused, 1 accepted, +0.250 for 40 calls'
        """
        return (
            f"{self.name}: {self.proposals} proposals, {self.refused} refused, {self.accepted} accepted, "
            f"{self.gain:+.3f} for {self.calls} calls"
        )


def proposer_statistics(history: History, names: Sequence[str] = ()) -> tuple[ProposerStatistics, ...]:
    """Return the accounts of ``names`` in their order, then of others that made proposals."""
    by_name: dict[str, list[Candidate]] = {name: [] for name in names}
    by_label = {candidate.label: candidate for candidate in history.candidates}
    for candidate in history.candidates:
        if candidate is not history.seed and candidate.proposer:
            by_name.setdefault(candidate.proposer, []).append(candidate)
    return tuple(
        ProposerStatistics(
            name,
            proposals=len(made),
            refused=sum(candidate.status == "guarded" for candidate in made),
            accepted=sum(bool(candidate.val) for candidate in made),
            gain=sum(_gain(by_label, candidate) for candidate in made),
            calls=sum(candidate.calls + len(candidate.val) for candidate in made),
        )
        for name, made in by_name.items()
    )


def _gain(by_label: dict[str, Candidate], candidate: Candidate) -> float:
    if not candidate.val or not candidate.parents:
        return 0.0
    return max(0.0, val_difference(candidate, by_label[candidate.parents[0]]) or 0.0)
