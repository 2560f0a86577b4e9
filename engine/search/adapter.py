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
from engine.search.curtailment import minibatch_verdict
from engine.search.history import Candidate, History
from udfs.errors import ErrorKind
from udfs.prompt import Prompt
from udfs.rollout import Rollout

Trajectory = tuple[Row, Rollout]

_STAGE_COVERAGE = 0.5
# A child is tested on so many of its parent's failures first, and then on so many rows that were right.
PROBE_ROWS, CHECKED_ROWS = 4, 8


class EngineAdapter:
    """gepa's ``GEPAAdapter``, tolerant towards its main branch: unknown keywords are passed over.

    Rollouts go into ``history``; gepa gets a number for every row, because it can't do without. For a row that was not
    asked for or could not be scored that is a neutral one (what other candidates got there, else the candidate's own
    mean), and no decision of ours is taken from it. Of a minibatch, the first ``shown_rows`` are for reflection to see.
    """

    # gepa reads this attribute; None leaves proposals to the reflection strategy.
    propose_new_texts = None

    def __init__(
        self,
        evaluation: Evaluation,
        history: History,
        budget: Budget,
        *,
        min_coverage: float,
        shown_rows: int,
    ) -> None:
        self._evaluation = evaluation
        self._history = history
        self._budget = budget
        self._val_ids = frozenset(row.row_id for row in history.val)
        self._min_coverage = min_coverage
        self._shown_rows = shown_rows
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
        """Evaluate all pairs of a stage at once; children on a minibatch only as far as it takes to decide.

        Raises:
            BudgetSpent: the budget does not cover the whole stage; what it covers was evaluated and is in history.
            CoverageError: too few rows could be scored.
        """
        del capture_traces  # traces are what history keeps anyway
        seed = self._history.seed.prompt
        pairs = [(seed.with_components(components), rows) for components, rows in items]
        if all(row.row_id in self._val_ids for _, rows in pairs for row in rows):
            # The race has run them before gepa asks, but for the seed's first shard.
            self.ask(pairs, stage=self.stage_on_val)
        elif all(self._history.get(prompt.candidate_id).val for prompt, _ in pairs):
            self.ask(pairs, stage=f"step {self.step}: parents")
        else:
            self._ask_children(pairs)
        return [self._batch(rows, self._noted(prompt, rows)) for prompt, rows in pairs]

    @property
    def stage_on_val(self) -> str:
        """What progress calls a stage on val rows."""
        return f"step {self.step}: val" if self.step else "seed on val"

    def affordable(self, pairs: int) -> int:
        """Return how many of so many new evaluations the budget allows, all else left aside."""
        return self._budget.affordable(pairs)

    def ask(self, pairs: Sequence[tuple[Prompt, Sequence[Row]]], *, stage: str) -> None:
        """Evaluate what is not known yet, all at once; the rollouts are in history then.

        Raises:
            BudgetSpent: the budget does not cover all; what it covers was evaluated, whole pairs only.
            CoverageError: too few rows could be scored.
        """
        fresh = [(prompt, [row for row in rows if not self._is_known(prompt, row)]) for prompt, rows in pairs]
        # Whoever leads must be able to complete val: what that takes is not spent on minibatches.
        kept = 0 if stage == self.stage_on_val else self._history.outstanding
        covered = self._covered(fresh, kept)
        if any(rows for _, rows in covered):
            self._evaluate(covered, stage)
        if len(covered) < len(pairs):
            raise BudgetSpent(f"the budget covers {len(covered)} of {len(pairs)} evaluations of the stage {stage}")

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: EvaluationBatch[Trajectory, Rollout],
        components_to_update: list[str],
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the minibatch's rows and rollouts under each component; our reflection strategy reads them.

        ``shown`` says which are for proposers to see; children are tested on the others, too.
        """
        del candidate
        records = [
            {"row": row, "rollout": rollout, "shown": number < self._shown_rows}
            for number, (row, rollout) in enumerate(eval_batch.trajectories or [])
        ]
        return dict.fromkeys(components_to_update, records)

    def _ask_children(self, pairs: Sequence[tuple[Prompt, Sequence[Row]]]) -> None:
        """Ask children for a few of their parents' failures, and those that mend some for rows that were right."""
        stage = f"step {self.step}: proposals"
        tests = [(prompt, *self._tests(prompt, rows)) for prompt, rows in pairs]
        self.ask([(prompt, probe) for prompt, probe, _ in tests], stage=stage)
        promising = [(prompt, rest) for prompt, probe, rest in tests if self._is_open(prompt, probe, rest)]
        self.ask(promising, stage=stage)

    def _tests(self, child: Prompt, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """The first rows to test a child on, half of which its author has not seen, and the rows that follow."""
        parent = self._parent(child)
        scores, failures = parent.train_scores, parent.failures
        failed = [row for row in rows if row.row_id in failures]
        # Rows that reflection was shown come first in a minibatch, the others last.
        probe = failed if len(failed) <= PROBE_ROWS else failed[: PROBE_ROWS // 2] + failed[-PROBE_ROWS // 2 :]
        probed = {row.row_id for row in probe}
        others = [row for row in rows if row.row_id in scores and row.row_id not in probed]
        return probe, sorted(others, key=lambda row: -scores[row.row_id])[:CHECKED_ROWS]

    def _is_open(self, child: Prompt, probe: Sequence[Row], rest: Sequence[Row]) -> bool:
        """Say whether the child has mended something, but may still break as much."""
        before, after = self._parent(child).train_scores, self._history.get(child.candidate_id).train_scores
        differences = [after[row.row_id] - before[row.row_id] for row in probe if row.row_id in after]
        if not minibatch_verdict(differences, []):
            return False
        return minibatch_verdict(differences, [before[row.row_id] for row in rest]) is None

    def _parent(self, child: Prompt) -> Candidate:
        return self._history.parent(self._history.get(child.candidate_id))

    def _evaluate(self, pairs: Sequence[tuple[Prompt, list[Row]]], stage: str) -> None:
        self._evaluation.usage.metric_calls += len({(p.candidate_id, row.row_id) for p, rows in pairs for row in rows})
        results = self._evaluation.rollouts(pairs, stage=stage, allowance=self._budget.allowance())
        unasked = sum(was_not_asked(r) for rollouts in results for r in rollouts)
        if unasked:
            for (prompt, _), rollouts in zip(pairs, results, strict=True):
                if not any(map(was_not_asked, rollouts)):  # half a shard must not make a leader
                    self._history.note(prompt.candidate_id, rollouts)
            raise BudgetSpent(f"it did not cover {unasked} of the calls of the stage {stage}")
        # Minibatches and shards are too small for min_coverage; but an outage over half of a stage is no evidence.
        check_coverage([r for rollouts in results for r in rollouts], _STAGE_COVERAGE, f"the stage {stage}")
        for (prompt, _), rollouts in zip(pairs, results, strict=True):
            self._history.note(prompt.candidate_id, rollouts)
            candidate = self._history.get(prompt.candidate_id)
            if stage == self.stage_on_val and self._history.is_complete(candidate):
                check_coverage(list(candidate.val.values()), self._min_coverage, f"candidate {candidate.label} on val")

    def _covered(self, pairs: Sequence[tuple[Prompt, list[Row]]], kept: int) -> list[tuple[Prompt, list[Row]]]:
        """The first pairs of the stage that the budget covers when so many calls are kept back."""
        left = self._budget.affordable(kept + sum(len(rows) for _, rows in pairs)) - kept
        chosen = []
        for prompt, rows in pairs:
            if len(rows) > left:
                break
            left -= len(rows)
            chosen.append((prompt, rows))
        return chosen

    def _is_known(self, prompt: Prompt, row: Row) -> bool:
        """Scored before in this search: gepa asks for parents again, and is served from history."""
        candidate = self._history.get(prompt.candidate_id)
        if row.row_id in self._val_ids:
            return row.row_id in candidate.val  # asked once; the row that failed stays out of each comparison
        rollout = candidate.train.get(row.row_id)
        return rollout is not None and rollout.score is not None

    def _noted(self, prompt: Prompt, rows: Sequence[Row]) -> list[Rollout]:
        """What is known of the rows; an empty rollout for those that were not asked for."""
        candidate = self._history.get(prompt.candidate_id)
        return [
            _rollout(candidate, row.row_id) or Rollout(candidate.candidate_id, row.row_id, score=None) for row in rows
        ]

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
