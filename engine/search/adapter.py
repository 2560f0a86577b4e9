"""The bridge from gepa to the engine: all (candidate, rows) pairs of a stage become one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gepa.core.adapter import EvaluationBatch

from engine.coverage import check_coverage
from engine.errors import BudgetSpent
from engine.evaluate import Evaluation
from engine.rows import Row
from engine.search.budget import Budget
from engine.search.history import Candidate, History
from udfs.errors import ErrorKind
from udfs.prompt import Prompt
from udfs.rollout import Rollout

Trajectory = tuple[Row, Rollout]

_STAGE_COVERAGE = 0.5


class EngineAdapter:
    """gepa's ``GEPAAdapter``, tolerant towards its main branch: unknown keywords are passed over.

    Rollouts go into ``history``; gepa gets a number for every row, because it can't do without. For a row that could
    not be scored that is a neutral one (what other candidates got there, else the candidate's own mean), and no
    decision of ours is taken from it.
    """

    # gepa reads this attribute; None leaves proposals to the reflection strategy.
    propose_new_texts = None

    def __init__(
        self,
        evaluation: Evaluation,
        history: History,
        budget: Budget,
        *,
        seed: Prompt,
        val_ids: frozenset[str],
        min_coverage: float,
    ) -> None:
        self._evaluation = evaluation
        self._history = history
        self._budget = budget
        self._seed = seed
        self._val_ids = val_ids
        self._min_coverage = min_coverage
        self.step = 0

    def evaluate(
        self, batch: list[Row], candidate: dict[str, str], capture_traces: bool = False, **_: Any
    ) -> EvaluationBatch[Trajectory, Rollout]:
        """Evaluate one candidate; see :meth:`batch_evaluate`."""
        del capture_traces
        return self.batch_evaluate([(candidate, batch)])[0]

    def batch_evaluate(
        self, items: list[tuple[dict[str, str], list[Row]]], *, capture_traces: bool = True, **_: Any
    ) -> list[EvaluationBatch[Trajectory, Rollout]]:
        """Evaluate all pairs of a stage at once.

        Raises:
            BudgetSpent: the budget does not cover the whole stage; what it covers was evaluated and is in history.
            CoverageError: too few val rows of a candidate could be scored.
        """
        del capture_traces  # traces are what history keeps anyway
        pairs = [(self._seed.with_components(components), rows) for components, rows in items]
        stage = self._stage(pairs)
        fresh = [(prompt, [row for row in rows if not self._is_known(prompt, row)]) for prompt, rows in pairs]
        affordable = self._affordable(fresh)
        if any(rows for _, rows in affordable):
            self._evaluate(affordable, stage)
        if len(affordable) < len(pairs):
            raise BudgetSpent(f"the budget covers {len(affordable)} of {len(pairs)} evaluations of the stage {stage}")
        return [self._batch(rows, self._noted(prompt, rows)) for prompt, rows in pairs]

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: EvaluationBatch[Trajectory, Rollout],
        components_to_update: list[str],
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the minibatch's rows and rollouts, under each component; our reflection strategy reads them."""
        del candidate
        records = [{"row": row, "rollout": rollout} for row, rollout in eval_batch.trajectories or ()]
        return dict.fromkeys(components_to_update, records)

    def _evaluate(self, pairs: Sequence[tuple[Prompt, list[Row]]], stage: str) -> None:
        self._evaluation.usage.metric_calls += len({(p.candidate_id, row.row_id) for p, rows in pairs for row in rows})
        results = self._evaluation.rollouts(pairs, stage=stage, allowance=self._budget.allowance())
        unasked = sum(was_not_asked(r) for rollouts in results for r in rollouts)
        if unasked:
            for (prompt, _), rollouts in zip(pairs, results, strict=True):
                if not any(map(was_not_asked, rollouts)):  # half a val set must not make a winner
                    self._history.note(prompt.candidate_id, rollouts)
            raise BudgetSpent(f"it did not cover {unasked} of the calls of the stage {stage}")
        if not stage.endswith("val"):
            # Minibatches are too small for min_coverage; but an outage over half of a stage is no evidence at all.
            check_coverage([r for rollouts in results for r in rollouts], _STAGE_COVERAGE, f"the stage {stage}")
        for (prompt, rows), rollouts in zip(pairs, results, strict=True):
            self._history.note(prompt.candidate_id, rollouts)
            if stage.endswith("val"):
                label = self._history.get(prompt.candidate_id).label
                check_coverage(rollouts, self._min_coverage, f"candidate {label} on val")
                self._tell_val(prompt, rows)

    def _affordable(self, pairs: Sequence[tuple[Prompt, list[Row]]]) -> list[tuple[Prompt, list[Row]]]:
        """The first pairs of the stage that the budget covers."""
        left = self._budget.affordable(sum(len(rows) for _, rows in pairs))
        chosen = []
        for prompt, rows in pairs:
            if len(rows) > left:
                break
            left -= len(rows)
            chosen.append((prompt, rows))
        return chosen

    def _is_known(self, prompt: Prompt, row: Row) -> bool:
        """Scored before in this search: gepa asks for parents again, and is served from history."""
        rollout = _rollout(self._history.get(prompt.candidate_id), row.row_id)
        return rollout is not None and rollout.score is not None

    def _noted(self, prompt: Prompt, rows: Sequence[Row]) -> list[Rollout]:
        candidate = self._history.get(prompt.candidate_id)
        return [candidate.val.get(row.row_id) or candidate.train[row.row_id] for row in rows]

    def _stage(self, pairs: Sequence[tuple[Prompt, list[Row]]]) -> str:
        if all(row.row_id in self._val_ids for _, rows in pairs for row in rows):
            return "seed on val" if self.step == 0 else f"step {self.step}: val"
        known = all(self._history.get(prompt.candidate_id).val for prompt, _ in pairs)
        return f"step {self.step}: {'parents' if known else 'proposals'}"

    def _tell_val(self, prompt: Prompt, rows: Sequence[Row]) -> None:
        candidate = self._history.get(prompt.candidate_id)
        score = self._history.val_score(candidate)
        shown = "unscored" if score is None else f"{score:.3f}"
        self._evaluation.progress.tell(f"{candidate.label} ({candidate.proposer}): {shown} on {len(rows)} val rows")

    def _batch(self, rows: Sequence[Row], rollouts: Sequence[Rollout]) -> EvaluationBatch[Trajectory, Rollout]:
        known = [r.score for r in rollouts if r.score is not None]
        mean = sum(known) / len(known) if known else 0.0
        scores = [r.score if r.score is not None else self._neutral(r, mean) for r in rollouts]
        return EvaluationBatch(
            outputs=list(rollouts), scores=scores, trajectories=list(zip(rows, rollouts, strict=True))
        )

    def _neutral(self, rollout: Rollout, own_mean: float) -> float:
        others = [
            other.score
            for candidate in self._history.candidates
            if candidate.candidate_id != rollout.candidate_id
            and (other := _rollout(candidate, rollout.row_id)) is not None
            and other.score is not None
        ]
        return sum(others) / len(others) if others else own_mean


def was_not_asked(rollout: Rollout) -> bool:
    """Say whether the budget did not cover the call."""
    return rollout.error is not None and rollout.error.kind is ErrorKind.BUDGET


def _rollout(candidate: Candidate, row_id: str) -> Rollout | None:
    return candidate.val.get(row_id) or candidate.train.get(row_id)
