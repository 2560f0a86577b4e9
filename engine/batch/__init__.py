"""Many optimizations at once on one cluster: each fails alone, is gone on with alone, and one page tells of all."""

from engine.batch.foresee import Foreseen, foresee
from engine.batch.line import BatchLine
from engine.batch.observer import BatchObserver, Relayed
from engine.batch.optimize import optimize_all
from engine.batch.run import BatchResult, run_batch
from engine.batch.state import BatchState, batch_run_dir, is_batch, newest_batch
from engine.batch.summary import BatchSummary

__all__ = [
    "BatchLine",
    "BatchObserver",
    "BatchResult",
    "BatchState",
    "BatchSummary",
    "Foreseen",
    "Relayed",
    "batch_run_dir",
    "foresee",
    "is_batch",
    "newest_batch",
    "optimize_all",
    "run_batch",
]
