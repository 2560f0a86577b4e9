"""What a search has seen: every candidate, and its rollouts on train and val. The search's own book of record.

gepa keeps a state of its own; decisions about winners are taken from this one, because it knows which rows were
really scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.rows import Row
from udfs.prompt import Prompt
from udfs.rollout import Rollout


@dataclass
class Candidate:
    """One candidate and how it has done so far; ``status`` and the scores change as the search goes on.

    ``status``: ``seed``, ``proposed``, ``accepted``, ``rejected`` or ``guarded``. ``calls`` is what it took to propose
    it and to evaluate its minibatch.
    """

    prompt: Prompt
    label: str
    parents: tuple[str, ...]
    proposer: str
    step: int
    status: str
    reason: str = ""
    minibatch_before: float | None = None
    minibatch_after: float | None = None
    calls: int = 0
    train: dict[str, Rollout] = field(default_factory=dict)
    val: dict[str, Rollout] = field(default_factory=dict)

    @property
    def candidate_id(self) -> str:
        """Identity of the prompt."""
        return self.prompt.candidate_id


class History:
    """All candidates in the order they came up. Not thread-safe: one search, one thread."""

    def __init__(self, seed: Prompt, val: Sequence[Row]) -> None:
        self._val = list(val)
        self._weights = {row.row_id: row.weight for row in val}
        self._by_id: dict[str, Candidate] = {}
        self.candidates: list[Candidate] = []
        self.seed = self.add(seed, parents=(), proposer="seed", step=0, status="seed")

    def add(
        self, prompt: Prompt, *, parents: Sequence[str], proposer: str, step: int, status: str, reason: str = ""
    ) -> Candidate:
        """Add a candidate; one that was guarded keeps no place among the known ones."""
        label = "seed" if not self.candidates else f"c{len(self.candidates)}"
        candidate = Candidate(prompt, label, tuple(parents), proposer, step, status, reason)
        self.candidates.append(candidate)
        if status != "guarded":
            self._by_id[candidate.candidate_id] = candidate
        return candidate

    def find(self, candidate_id: str) -> Candidate | None:
        """Return the candidate with this id, unless it was guarded."""
        return self._by_id.get(candidate_id)

    def get(self, candidate_id: str) -> Candidate:
        """Return the candidate with this id, which must be known."""
        return self._by_id[candidate_id]

    def note(self, candidate_id: str, rollouts: Iterable[Rollout]) -> None:
        """Keep rollouts with their candidate, by the part of the data their rows belong to."""
        candidate = self.get(candidate_id)
        for rollout in rollouts:
            part = candidate.val if rollout.row_id in self._weights else candidate.train
            part[rollout.row_id] = rollout

    def val_score(self, candidate: Candidate) -> float | None:
        """Return the mean score over the val rows that were scored, by weight; ``None`` where val was not run."""
        return weighted_mean(candidate.val.values(), self._weights)

    def val_coverage(self, candidate: Candidate) -> float:
        """Return the share of val rows that were scored."""
        scored = sum(rollout.score is not None for rollout in candidate.val.values())
        return scored / len(self._val) if self._val else 0.0

    def best(self, *, min_coverage: float) -> Candidate:
        """Return the candidate that does best on val; among equals, and where nothing was scored, the earliest.

        Each candidate is compared with the best so far on the rows that were scored for both.
        """
        best = self.seed
        for candidate in self.candidates:
            if candidate is best or not candidate.val or self.val_coverage(candidate) < min_coverage:
                continue
            difference = self.paired_difference(candidate, best)
            if difference is not None and difference > 0:
                best = candidate
        return best

    def paired_difference(self, one: Candidate, other: Candidate) -> float | None:
        """Return the mean difference in val score, ``one`` minus ``other``, over the rows scored for both."""
        total = weights = 0.0
        for row_id, rollout in one.val.items():
            counterpart = other.val.get(row_id)
            if rollout.score is not None and counterpart is not None and counterpart.score is not None:
                total += self._weights[row_id] * (rollout.score - counterpart.score)
                weights += self._weights[row_id]
        return total / weights if weights else None

    def pareto_counts(self, candidate_ids: Sequence[str]) -> list[int]:
        """For each candidate: on how many val rows no other one does better (GEPA, arXiv 2507.19457, algorithm 2)."""
        pool = [self.get(candidate_id) for candidate_id in candidate_ids]
        counts = [0] * len(pool)
        for row in self._val:
            scores = [c.val[row.row_id].score if row.row_id in c.val else None for c in pool]
            known = [score for score in scores if score is not None]
            if known:
                top = max(known)
                for position, score in enumerate(scores):
                    counts[position] += score == top
        return counts


def weighted_mean(rollouts: Iterable[Rollout], weights: Mapping[str, int] | None = None) -> float | None:
    """Return the mean score of those that were scored; ``None`` where there are none.

    >>> weighted_mean([Rollout("c", "a", score=1.0), Rollout("c", "b", score=None)])
    1.0
    """
    scored = [(r.score, (weights or {}).get(r.row_id, 1)) for r in rollouts if r.score is not None]
    total = sum(weight for _, weight in scored)
    return sum(score * weight for score, weight in scored) / total if total else None
