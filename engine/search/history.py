"""What a search has seen: every candidate, and its rollouts on train and val. The search's own book of record.

gepa keeps a state of its own; decisions about winners are taken from this one, because it knows which rows were
really scored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.rows import Row
from engine.search.curtailment import chance_ahead
from engine.statistics import Differences
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

    @property
    def train_scores(self) -> dict[str, float]:
        """The scores of the training rows that were scored."""
        return {row_id: rollout.score for row_id, rollout in self.train.items() if rollout.score is not None}

    @property
    def failures(self) -> set[str]:
        """The training rows that it got wrong; where scores are graded, those where it did no better than usual."""
        scores = self.train_scores
        usual = sum(scores.values()) / len(scores) if scores else 0.0
        return {row_id for row_id, score in scores.items() if score < 1.0 and score <= usual}


class History:
    """All candidates in the order they came up. Not thread-safe: one search, one thread.

    ``val`` is in the seeded order in which candidates are asked for it, cut to ``val_rows`` where that is given;
    ``leader`` is the best so far.
    """

    def __init__(self, seed: Prompt, val: Sequence[Row], *, order_seed: int = 0, val_rows: int | None = None) -> None:
        def place(row: Row) -> str:
            return hashlib.sha256(f"val-{order_seed}|{row.row_id}".encode()).hexdigest()

        self.val = tuple(sorted(val, key=place)[:val_rows])
        self._weights = {row.row_id: row.weight for row in self.val}
        self._by_id: dict[str, Candidate] = {}
        self.candidates: list[Candidate] = []
        self.seed = self.add(seed, parents=(), proposer="seed", step=0, status="seed")
        self.leader = self.seed

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

    def of(self, components: Mapping[str, str]) -> Candidate:
        """Return the candidate with these components, which is all that gepa keeps of it; it must be known."""
        return self.get(self.seed.prompt.with_components(components).candidate_id)

    def parent(self, candidate: Candidate) -> Candidate:
        """Return the parent of a candidate, the seed for the seed itself."""
        return next((one for one in self.candidates if one.label in candidate.parents), self.seed)

    def note(self, candidate_id: str, rollouts: Iterable[Rollout]) -> None:
        """Keep rollouts with their candidate, by the part of the data their rows belong to."""
        candidate = self.get(candidate_id)
        for rollout in rollouts:
            part = candidate.val if rollout.row_id in self._weights else candidate.train
            part[rollout.row_id] = rollout

    def val_score(self, candidate: Candidate) -> float | None:
        """Return the mean score over the val rows that were scored, by weight; ``None`` where val was not run."""
        return weighted_mean(candidate.val.values(), self._weights)

    def lacking(self, candidate: Candidate, rows: int | None = None) -> list[Row]:
        """Return those of the first ``rows`` of val, by default of all, that the candidate was not asked for yet."""
        return [row for row in self.val[:rows] if row.row_id not in candidate.val]

    @property
    def finalists(self) -> list[Candidate]:
        """The leader, and the seed that it is compared with: both are run on all of val in the end."""
        return [self.leader] if self.leader is self.seed else [self.leader, self.seed]

    @property
    def outstanding(self) -> int:
        """How many evaluations the finalists lack."""
        return sum(len(self.lacking(one)) for one in self.finalists)

    def is_complete(self, candidate: Candidate) -> bool:
        """Say whether the candidate was asked for all of val."""
        return len(candidate.val) == len(self.val)

    def differences(self, one: Candidate, other: Candidate) -> Differences:
        """Return the differences in val score, ``one`` minus ``other``, over the rows scored for both."""
        found = [
            (rollout.score - counterpart.score, self._weights[row_id])
            for row_id, rollout in one.val.items()
            if (counterpart := other.val.get(row_id)) is not None
            and rollout.score is not None
            and counterpart.score is not None
        ]
        return Differences.of([value for value, _ in found], [weight for _, weight in found])

    def ahead(self, one: Candidate, other: Candidate) -> float:
        """Return the probability that ``one`` would be ahead of ``other`` on all of val, by the rows scored for both.

        See :func:`engine.search.curtailment.chance_ahead`.
        """
        weights = self._weights.values()
        evenness = sum(weights) ** 2 / (len(weights) * sum(w * w for w in weights)) if weights else 1.0
        return chance_ahead(self.differences(one, other), rows=len(self.val), evenness=evenness)

    def pareto_counts(self, pool: Sequence[Candidate]) -> list[int]:
        """For each candidate: on how many val rows no other one does better (GEPA, arXiv 2507.19457, algorithm 2).

        A candidate that is dominated, because on each of its rows one that stays does as well, counts for none. The
        rows are those of the leader: on rows that only an earlier leader was asked for there is nothing to compare.
        """
        fronts = [front for row in self.val if row.row_id in self.leader.val and (front := _front(pool, row.row_id))]
        means = [weighted_mean(candidate.val.values(), self._weights) or 0.0 for candidate in pool]
        staying = set(range(len(pool)))
        # The weakest are looked at first; among equals the latest, so that an earlier one is not lost to its copy.
        for position in sorted(staying, key=lambda at: (means[at], -at)):
            if all(front & staying != {position} for front in fronts if position in front):
                staying.discard(position)
        return [sum(at in front for front in fronts) if at in staying else 0 for at in range(len(pool))]


def _front(pool: Sequence[Candidate], row_id: str) -> set[int]:
    """Positions of those that do best on a row; empty where it was scored for nobody."""
    scores = [(at, c.val[row_id].score) for at, c in enumerate(pool) if row_id in c.val]
    known = [(at, score) for at, score in scores if score is not None]
    top = max((score for _, score in known), default=None)
    return {at for at, score in known if score == top}


def weighted_mean(rollouts: Iterable[Rollout], weights: Mapping[str, int] | None = None) -> float | None:
    """Return the mean score of those that were scored; ``None`` where there are none.

    >>> weighted_mean([Rollout("c", "a", score=1.0), Rollout("c", "b", score=None)])
    1.0
    """
    scored = [(r.score, (weights or {}).get(r.row_id, 1)) for r in rollouts if r.score is not None]
    total = sum(weight for _, weight in scored)
    return sum(score * weight for score, weight in scored) / total if total else None
