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
from engine.search.guards import Guards
from engine.search.history import Candidate, History
from engine.search.proposer_choice import PayingOff
from engine.search.reflection_strategy import ProposerStrategy
from engine.search.sampling import MinibatchCursor, PopulationSampling, RowLoader
from engine.settings import SearchSettings
from udfs.prompt import Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """What a search found; ``ended``: ``improved``, ``no improvement found``, ``budget spent`` or ``seed perfect``."""

    history: History
    best: Candidate
    steps: tuple[StepLine, ...]
    ended: str


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
    on_step: Callable[[StepLine], None] | None = None

    def run(self) -> SearchResult:
        """Search; the best prompt so far is kept when the budget ends.

        Deterministic given the settings' seed and the endpoints' answers. Started again, it walks the same way and
        finds its answers in the ledger, so that an interrupted search goes on where it was.

        Raises:
            EvaluationError: too few rows could be scored, or the ledger can't be written.
        """
        settings = self.settings
        history = History(self.seed, self.val)
        guards = Guards.of(self.seed, self.train, max_prompt_tokens=settings.max_prompt_tokens)
        adapter = EngineAdapter(
            self.evaluation,
            history,
            self.budget,
            seed=self.seed,
            val_ids=frozenset(row.row_id for row in self.val),
            min_coverage=self.min_coverage,
        )
        names = [proposer.name for proposer in self.proposers]
        choice = PayingOff(names, seed=settings.seed) if settings.is_auto else None
        strategy = ProposerStrategy(self.proposers, guards, history, self.evaluation.progress, choice)
        cursor = MinibatchCursor([r.row_id for r in self.train], size=settings.minibatch_size, seed=settings.seed)
        sampling = PopulationSampling(
            history,
            num_candidates=settings.num_candidates,
            mutations=len(self.proposers),
            cursor=cursor,
            seed=settings.seed,
        )
        watch = _Steps(self, history, adapter, strategy, sampling)
        spent = False
        try:
            gepa.optimize(
                seed_candidate=dict(self.seed.components),
                trainset=RowLoader(self.train),
                valset=RowLoader(self.val),
                adapter=adapter,
                reflection_strategy=strategy,
                sampling_strategy=sampling,
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
            spent = True
            self.evaluation.progress.tell(f"the search ends: {error}")
        if strategy.failure is not None:
            raise strategy.failure
        watch.note()
        spent = spent or strategy.budget_spent
        best = history.best(min_coverage=0.0)
        return SearchResult(history, best, tuple(watch.lines), _ended(history, best, spent=spent))


def _ended(history: History, best: Candidate, *, spent: bool) -> str:
    if best is not history.seed:
        return "improved"
    if _is_perfect(history):
        return "seed perfect"
    return "budget spent" if spent else "no improvement found"


def _is_perfect(history: History) -> bool:
    score = history.val_score(history.seed)
    return score is not None and score >= 1.0 - 1e-12


class _Steps:
    """gepa's stopper, asked before every step: counts the steps, tells observers, and ends the search."""

    def __init__(
        self,
        search: Search,
        history: History,
        adapter: EngineAdapter,
        strategy: ProposerStrategy,
        sampling: PopulationSampling,
    ) -> None:
        self._search = search
        self._history = history
        self._adapter = adapter
        self._strategy = strategy
        self._sampling = sampling
        self._started = time.monotonic()
        self.lines: list[StepLine] = []

    def __call__(self, state: Any) -> bool:
        """Return True when no further step shall begin."""
        del state
        self.note()
        done = self._sampling.step
        stop = (
            done >= self._search.settings.max_steps
            or self._strategy.failure is not None
            or self._strategy.budget_spent
            or _is_perfect(self._history)
            or self._search.budget.affordable(1) == 0
        )
        if not stop:
            self._adapter.step = self._strategy.step = done + 1
        return stop

    def note(self) -> None:
        """Keep a line for the step that just ended."""
        step = self._sampling.step
        if self.lines and self.lines[-1].step == step:
            return
        usage = self._search.evaluation.usage
        best = self._history.best(min_coverage=0.0)
        line = StepLine(
            step=step,
            best_val_score=self._history.val_score(best),
            metric_calls=usage.metric_calls,
            tokens=usage.tokens,
            seconds=round(time.monotonic() - self._started, 3),
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
