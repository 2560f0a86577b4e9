"""What a migration came to: the winner's registration, the record, the report, and the end of the tracked run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from engine import gate, registry
from engine.errors import PromptmillError
from engine.parts import OptimizedPart, optimized_parts, part_lines, parts_of, prompt_section
from engine.record import CandidateLine, RunRecord
from engine.report import write_report
from engine.search.history import History
from engine.search.loop import SearchResult
from engine.search.proposer_statistics import proposer_statistics
from engine.tracking import Tracker
from engine.verdict import paired as paired_rows
from engine.verdict.race import Answer
from engine.verdict.section import holdout_section, rounded
from udfs.prompt import Prompt

if TYPE_CHECKING:
    from engine.migration import Migration

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimizedPrompt:
    """The prompt that the application should use from now on: the new one, or the old one where it was kept.

    ``uri`` is ``None`` where the registry could not take it. ``parts`` are the prompts of a program, one where there is
    one; of several, ``name`` holds all names, ``template`` all templates by name, and ``uri`` is ``None``.
    """

    name: str
    template: str | list[dict[str, str]] | dict[str, str | list[dict[str, str]]]
    uri: str | None
    status: str
    parts: tuple[OptimizedPart, ...] = ()


@dataclass(frozen=True)
class OptimizationResult:
    """What one optimization came to. ``run_dir`` holds ``result.json``, ``record.json`` and ``report.html``."""

    prompt: OptimizedPrompt
    record: RunRecord
    run_dir: str


@dataclass
class Outcome:
    """Turns what was found into registry versions, the record, the report and the end of the tracked run.

    ``current`` are the versions of the seed's prompts in the registry, none where it could not take them.
    """

    migration: Migration
    tracker: Tracker
    current: tuple[registry.RegisteredPrompt, ...]
    found: SearchResult | None = None

    def finish(
        self, verdict: gate.Verdict, paired: DataFrame, *, started: float, tags: Mapping[str, str]
    ) -> OptimizationResult:
        """Register the winner if the gate lets it through, and leave the record; return the result."""
        migration, found = self.migration, self.found
        if found is None:
            raise AssertionError("the search has not ended")
        improved = found.best is not found.history.seed
        registered: tuple[registry.RegisteredPrompt, ...] = ()
        if verdict.promote and improved:
            registered = registry.register_all(
                self._parts(found.best.prompt),
                message=f"promptmill: {verdict.reason}",
                tags={**tags, "promptmill.role": "winner", "promptmill.proposer": found.best.proposer},
                aliases=(registry.CANDIDATE, registry.CHAMPION),
            )
            self.tracker.prompts(registered)
        promoted = bool(registered)
        deployed = registered or self.current
        unsure = verdict.answer is Answer.NEED_MORE_DATA
        status = "promoted" if promoted else "need_more_data" if unsure and improved else "kept"
        reason = verdict.reason if improved else f"{found.ended}: {found.ending.sentence}"
        notes = list(migration.doubts)
        if verdict.promote and improved and not promoted:
            notes.append(
                "The registry could not take the new prompt, so no alias points to it; its text is in record.json."
            )
            reason += "; but the registry could not take it, so the current prompt stays"
        elif not self.current:
            notes.append("The registry could not take the current prompt.")
        prompt = found.best.prompt if promoted else migration.seed
        result = self._result(status, found, started)
        result |= prompt_section(self._parts(prompt), deployed)
        result["seed"]["holdout_score"] = rounded(verdict.seed_score)
        result["best"]["holdout_score"] = rounded(verdict.best_score)
        result["holdout"] = holdout_section(verdict, improved=improved)
        won, lost = paired_rows.flips(paired)
        record = RunRecord(
            result=result,
            settings=run_settings(migration),
            verdict=reason,
            seed_text=migration.seed.text(),
            best_text=found.best.prompt.text(),
            candidates=_lines(found.history),
            steps=found.steps,
            worst_rows=paired_rows.row_lines(paired, order="worst"),
            lost_rows=paired_rows.row_lines(paired, order="lost"),
            won_rows=paired_rows.row_lines(paired, order="won"),
            won_count=won,
            lost_count=lost,
            slices=verdict.slices,
            looks=verdict.looks,
            errors=paired_rows.error_lines(paired),
            notes=tuple(notes),
            parts=part_lines(self._parts(migration.seed), self._parts(found.best.prompt)),
        )
        self._close(record)
        parts = optimized_parts(self._parts(prompt), deployed)
        shaped = OptimizedPrompt(
            name=", ".join(part.name for part in parts),
            template=parts[0].template if len(parts) == 1 else {part.name: part.template for part in parts},
            uri=parts[0].uri if len(parts) == 1 else None,
            status=status,
            parts=parts,
        )
        return OptimizationResult(shaped, record, migration.state.run_dir)

    def fail(self, error: PromptmillError, *, started: float) -> None:
        """Leave a record of a failed run; what was found until then is in it."""
        migration = self.migration
        result = self._result("failed", self.found, started)
        result["error"] = str(error)
        record = RunRecord(
            result=result,
            settings=run_settings(migration),
            verdict=str(error),
            seed_text=migration.seed.text(),
            best_text=(self.found.best.prompt if self.found else migration.seed).text(),
            candidates=_lines(self.found.history) if self.found else (),
            steps=self.found.steps if self.found else (),
            parts=part_lines(
                self._parts(migration.seed), self._parts(self.found.best.prompt if self.found else migration.seed)
            ),
        )
        self._close(record)

    def _parts(self, prompt: Prompt) -> dict[str, Prompt]:
        return parts_of(self.migration.settings, prompt)

    def _close(self, record: RunRecord) -> None:
        run_dir = self.migration.state.run_dir
        record.write(run_dir)
        try:
            write_report(record, Path(run_dir) / "report.html")
        except Exception:
            # The report is an observer, too: `promptmill report` writes it anew from the record.
            log.warning("the report could not be written", exc_info=True)
        self.tracker.finish(record, run_dir)

    def _result(self, status: str, found: SearchResult | None, started: float) -> dict[str, Any]:
        migration, usage = self.migration, self.migration.usage
        sides: dict[str, Any] = {"seed": None, "best": None}
        if found:
            for side, candidate in (("seed", found.history.seed), ("best", found.best)):
                sides[side] = {
                    "candidate_id": candidate.candidate_id,
                    "val_score": found.history.val_score(candidate),
                    "val_rows": len(candidate.val),
                    "holdout_score": None,
                }
        return {
            "format": 1,
            "optimization": migration.settings.name,
            "run_id": migration.state.run_id,
            "mlflow_run_id": self.tracker.run_id,
            "fingerprints": asdict(migration.fingerprints),
            "status": status,
            **prompt_section(self._parts(migration.seed), self.current),
            **sides,
            "holdout": None,
            "steps": found.steps[-1].step if found else 0,
            "candidates": len(found.history.candidates) if found else 0,
            **(found.ending.as_dict() if found else {"ended": "failed"}),
            "proposers": [asdict(account) for account in proposer_statistics(found.history)] if found else [],
            "metric_calls": usage.metric_calls,
            "calls": usage.calls(),
            "tokens": usage.token_counts(),
            "cost": migration.bill(),
            "doubts": list(migration.doubts),
            "saved": usage.saved(*migration.prices),
            "seconds": round(time.monotonic() - started, 3),
        }


def _lines(history: History) -> tuple[CandidateLine, ...]:
    return tuple(
        CandidateLine(
            label=c.label,
            candidate_id=c.candidate_id,
            parents=c.parents,
            proposer=c.proposer,
            step=c.step,
            status=c.status,
            reason=c.reason,
            text=c.prompt.text(),
            minibatch_before=c.minibatch_before,
            minibatch_after=c.minibatch_after,
            val_score=history.val_score(c),
            val_rows=len(c.val),
        )
        for c in history.candidates
    )


def run_settings(migration: Migration) -> dict[str, Any]:
    """Return what the run runs with, without secrets."""
    settings = migration.settings
    return {
        "optimizer": "promptmill",
        "prompt": ", ".join(prompt.full_name for prompt in settings.prompts),
        "target_model": migration.target.name,
        "reflection_model": migration.reflection.name if migration.reflection else "",
        "scorer_model": settings.scorer_model.name if settings.scorer_model else "",
        "scorers": ", ".join(f"{w.scorer.name} x {w.weight:g}" for w in migration.mix),
        "num_training_samples": len(migration.split.train),
        "num_validation_samples": len(migration.split.val),
        "num_holdout_samples": migration.split.holdout_rows,
        "search": settings.search.model_dump(mode="json"),
        "split": settings.split.model_dump(mode="json"),
        "gate": settings.gate.model_dump(mode="json"),
        "budget": settings.budget.model_dump(mode="json", exclude_none=True),
        "slices": list(settings.slices),
    }
