"""What became of one optimization of a batch, in one line: small enough to hold a thousand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.outcome import OptimizedPrompt
from engine.parts import OptimizedPart
from engine.record import RunRecord

# Those that a batch given its run directory again leaves alone: they have a verdict.
DONE = ("promoted", "kept", "need_more_data")
FAILED, INTERRUPTED, NOT_STARTED = "failed", "interrupted", "not_started"
# In the order in which a person wants to see them.
STATUSES = ("promoted", "need_more_data", "kept", FAILED, INTERRUPTED, NOT_STARTED)


@dataclass(frozen=True)
class BatchLine:
    """One optimization. ``run_dir`` is its folder's name below the batch's; ``status`` is one of :data:`STATUSES`.

    Scores are the holdout's, from 0 to 1; ``None`` is what was not measured. ``earlier``: it was done before this batch
    was started again. ``reason`` says why it is as it is, or what failed.
    """

    name: str
    status: str
    run_dir: str
    reason: str = ""
    target: str = ""
    uris: tuple[str, ...] = ()
    seed_score: float | None = None
    best_score: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    rows: int = 0
    calls: int = 0
    reused: int = 0
    tokens: int = 0
    metric_calls: int = 0
    cost: float | None = None
    currency: str | None = None
    saved_cost: float | None = None
    seconds: float = 0.0
    mlflow_run_id: str | None = None
    earlier: bool = False

    @property
    def is_done(self) -> bool:
        """True where it came to a verdict."""
        return self.status in DONE

    @classmethod
    def of(cls, name: str, run_dir: str, record: RunRecord, *, earlier: bool = False) -> BatchLine:
        """Make the line of a run that left a record."""
        result = record.result
        holdout = result.get("holdout") or {}
        cost, saved = result.get("cost") or {}, (result.get("saved") or {}).get("cost") or {}
        interval = holdout.get("interval")
        measured = bool(holdout.get("rows"))
        return cls(
            name=name,
            status=str(result["status"]),
            run_dir=run_dir,
            reason=record.verdict,
            target=str(record.settings.get("target_model", "")),
            uris=tuple(one["uri"] for one in result.get("prompts", ()) if one["uri"]),
            seed_score=(result.get("seed") or {}).get("holdout_score"),
            best_score=(result.get("best") or {}).get("holdout_score"),
            difference=holdout.get("difference") if measured else None,
            interval=(interval[0], interval[1]) if measured and interval else None,
            rows=int(holdout.get("rows") or 0),
            calls=int(result["calls"]["made"]),
            reused=int(result["calls"]["reused"]),
            tokens=sum(result["tokens"].values()),
            metric_calls=int(result["metric_calls"]),
            cost=cost.get("amount"),
            currency=cost.get("currency"),
            saved_cost=saved.get("amount"),
            seconds=float(result["seconds"]),
            mlflow_run_id=result.get("mlflow_run_id"),
            earlier=earlier,
        )


def optimized_prompt(result: Mapping[str, Any]) -> OptimizedPrompt:
    """Return the prompt to use from now on, as ``result.json`` has it.

    >>> found = optimized_prompt({"status": "kept", "prompts": [{"name": "p", "uri": None, "text": "Say {{word}}"}]})
    >>> found.name, found.template, found.status
    ('p', 'Say {{word}}', 'kept')
    """
    parts = tuple(OptimizedPart(p["name"], p.get("messages") or p["text"], p["uri"]) for p in result["prompts"])
    alone = len(parts) == 1
    return OptimizedPrompt(
        name=", ".join(part.name for part in parts),
        template=parts[0].template if alone else {part.name: part.template for part in parts},
        uri=parts[0].uri if alone else None,
        status=str(result["status"]),
        parts=parts,
    )
