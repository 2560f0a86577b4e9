"""The search: ``gepa.optimize`` with our strategies, through its public protocols only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gepa

from engine.errors import BudgetSpent
from engine.evaluate import Evaluation
from engine.proposers.protocol import Proposer
from engine.record import StepLine
from engine.rows import Row
from engine.search.acceptance import PairedImprovement
from engine.search.adapter import EngineAdapter
from engine.search.budget import Budget
from engine.search.ending import Ending, is_perfect, judge_end
from engine.search.guards import Guards
from engine.search.history import Candidate, History
from engine.search.proposer_choice import PayingOff
from engine.search.race import FIRST_ROWS, Race
from engine.search.reflection_strategy import ProposerStrategy
from engine.search.sampling import PopulationSampling, RowLoader
from engine.search.selection import RacedSelection
from engine.settings import SearchSettings
from udfs.prompt import Prompt

log = logging.getLogger(__name__)

# A val row is used for so many metric calls of the budget. Measured with a sixteenth, an eighth, a quarter and all of
# 200 rows, see docs/decisions/0013.
_BUDGET_A_VAL_ROW = 16


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and how it ended."""

    history: History
    best: Candidate
    steps: tuple[StepLine, ...]
    ending: Ending

    @property
    def ended(self) -> str:
        """How, in a few words, see :class:`engine.search.ending.End`."""
        return str(self.ending.end)


@dataclass
class Search:
    """One search over ``train`` and ``val``; run it once."""

    seed: Prompt
    train: Sequence[Row]
    val: Sequence[Row]
    evaluation: Evaluation
    proposers: Sequence[Proposer]
    budget: Budget
    settings: SearchSettings
    min_coverage: float
    alpha: float = 0.05
    on_step: Callable[[StepLine], None] | None = None

    def run(self) -> SearchResult:
        """Search; the best prompt so far is kept when the budget ends.

        Deterministic given the settings' seed and the endpoints' answers. Started again, it walks the same way and
        finds its answers in the ledger, so that an interrupted search goes on where it was.

        Raises:
            EvaluationError: too few rows could be scored, or the ledger can't be written.
        """
        settings = self.settings
        history = History(self.seed, self.val, order_seed=settings.seed, val_rows=self._val_rows())
        guards = Guards.of(self.seed, self.train, max_prompt_tokens=settings.max_prompt_tokens)
        adapter = EngineAdapter(
            self.evaluation,
            history,
            self.budget,
            min_coverage=self.min_coverage,
            shown_rows=settings.minibatch_size,
        )
        names = [proposer.name for proposer in self.proposers]
        choice = PayingOff(names, seed=settings.seed) if settings.is_auto else None
        strategy = ProposerStrategy(self.proposers, guards, history, self.evaluation.progress, choice)
        sampling = PopulationSampling(history, adapter, self.train, settings)
        race = Race(history, adapter, self.evaluation.progress, early_stop=settings.early_stop)
        selection = RacedSelection(history, race)
        watch = _Steps(self, history, adapter, strategy, sampling, race)
        spent = ""
        try:
            gepa.optimize(
                seed_candidate=dict(self.seed.components),
                trainset=RowLoader(self.train),
                valset=RowLoader(history.val),
                adapter=adapter,
                reflection_strategy=strategy,
                sampling_strategy=sampling,
                selection_strategy=selection,
                val_evaluation_policy=selection,
                module_selector="all",
                acceptance_criterion=PairedImprovement(history),
                skip_perfect_score=False,
                stop_callbacks=[watch],
                use_merge=False,
                cache_evaluation=False,
                track_best_outputs=False,
                logger=_Quiet(),
                seed=settings.seed,
            )
        except BudgetSpent as error:
            spent = str(error)
        if strategy.failure is not None:
            raise strategy.failure
        if strategy.budget_spent:
            spent = spent or "it does not cover another call of the reflection model"
        try:
            race.complete()
        except BudgetSpent as error:
            spent = spent or str(error)
        if spent:
            self.evaluation.progress.tell(f"the search ends: {spent}")
        watch.note(anew=True)  # val was completed since
        ending = judge_end(history, settings, alpha=self.alpha, steps=sampling.step, spent=spent)
        self.evaluation.progress.tell(f"{ending.end}: {ending.sentence}")
        return SearchResult(history, history.leader, tuple(watch.lines), ending)

    def _val_rows(self) -> int:
        """How many val rows the budget is large enough for: a search that spends it all on val finds nothing."""
        every = len(self.val)
        rows = min(every, max(FIRST_ROWS, self.budget.affordable(every * _BUDGET_A_VAL_ROW) // _BUDGET_A_VAL_ROW))
        if rows < every:
            self.evaluation.progress.tell(
                f"the search uses {rows} of {every} val rows: more would take most of its budget"
            )
        return rows


class _Steps:
    """gepa's stopper, asked before every step: counts the steps, tells observers, and ends the search."""

    def __init__(
        self,
        search: Search,
        history: History,
        adapter: EngineAdapter,
        strategy: ProposerStrategy,
        sampling: PopulationSampling,
        race: Race,
    ) -> None:
        self._search = search
        self._history = history
        self._adapter = adapter
        self._strategy = strategy
        self._sampling = sampling
        self._race = race
        self._started = time.monotonic()
        self.lines: list[StepLine] = []

    def __call__(self, state: Any) -> bool:
        """Return True when no further step shall begin."""
        del state
        history = self._history
        if is_perfect(history, history.leader):
            self._race.complete()  # to be sure of it
        self.note()
        done = self._sampling.step
        if (
            done >= self._search.settings.max_steps
            or self._strategy.failure is not None
            or is_perfect(history, history.leader)
        ):
            return True
        if self._strategy.budget_spent:
            raise BudgetSpent("it does not cover another call of the reflection model")
        # A step is worth nothing that leaves too little to complete val for whoever leads after it.
        needed = 1 + history.outstanding
        if self._adapter.affordable(needed) < needed:
            raise BudgetSpent("it does not cover another step")
        self._adapter.step = self._strategy.step = done + 1
        return False

    def note(self, *, anew: bool = False) -> None:
        """Keep a line for the step that just ended; ``anew``: in place of the one that it has."""
        step = self._sampling.step
        if self.lines and self.lines[-1].step == step:
            if not anew:
                return
            del self.lines[-1]
        usage = self._search.evaluation.usage
        best = self._history.leader
        line = StepLine(
            step=step,
            best_val_score=self._history.val_score(best),
            metric_calls=usage.metric_calls,
            tokens=usage.tokens,
            seconds=round(time.monotonic() - self._started, 3),
            best_label=best.label,
        )
        self.lines.append(line)
        if self._search.on_step is not None:
            try:
                self._search.on_step(line)
            except Exception:
                # Tracking and display are observers; the search goes on without them.
                log.warning("an observer of the search failed", exc_info=True)


class _Quiet:
    """gepa's logger: everything at debug level; what a person should see is told by our own progress."""

    def log(self, message: str) -> None:
        """Log a line."""
        log.debug("gepa: %s", message)
