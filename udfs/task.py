"""One task of an evaluation: items stream through an evaluator, beside which somebody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from udfs import event_loop
from udfs.collector import seldom_collecting
from udfs.errors import EvaluationStopped, LedgerError
from udfs.evaluator import Evaluator
from udfs.ledger import SegmentLedger
from udfs.plan import EvaluationPlan
from udfs.rollout import Item, Rollout
from udfs.task_watch import TaskWatch, end_when_dead
from udfs.window import stream

# Finished rows that may wait behind a straggler in one task: bounds a worker's memory.
_HELD_ITEMS = 50_000


def evaluate_stream(
    plan: EvaluationPlan, batches: Iterable[Sequence[Item]], *, partition: int = 0
) -> Iterator[list[Rollout]]:
    """Yield one list of rollouts a batch of items, in order, the window full across batch borders.

    What earlier attempts of this partition left in the ledger is not called again. The ledger's last segment is
    closed when the stream ends, however it ends.

    Raises:
        EvaluationStopped: an endpoint is dead or refuses us, or somebody has stopped the evaluation.
        LedgerError: answers can't be kept.
        InputError: this worker does not see the driver's storage.
    """
    writer = f"{plan.evaluation_id}-p{partition:05d}"
    ledger = SegmentLedger(plan.ledger, writer, known=plan.ledger.closed_by(f"{writer}-"))
    evaluator = Evaluator(plan, ledger)
    loop = event_loop.event_loop()
    watch: TaskWatch | None = None
    if plan.watched:
        watch = TaskWatch(plan.status_folder, evaluator, partition=partition, tasks=plan.tasks)
        watch.begin()
    try:
        try:
            with seldom_collecting():
                yield from stream(
                    batches,
                    evaluator.evaluate,
                    loop=loop,
                    ahead=lambda: 2 * evaluator.calls.window,
                    held=_HELD_ITEMS,
                    beside=watch.watch if watch else partial(end_when_dead, evaluator.calls),
                )
        finally:
            evaluator.close()
            event_loop.run(ledger.close())
    except (LedgerError, EvaluationStopped) as error:
        if watch:
            watch.give_up(error)
        raise
    if watch:
        watch.end()
