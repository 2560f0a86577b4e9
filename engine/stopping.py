"""Ends a Spark job of ours cleanly: what Ctrl-C and SIGTERM do while one runs, and what a stopped job is told as."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from pyspark.sql import SparkSession

from engine.errors import EvaluationError
from engine.interruption import Terminated
from udfs.task_status import INTERRUPTED, StatusFolder, Stop, TaskStatus

log = logging.getLogger(__name__)

# Tasks look for a stop every 2 s, give calls in flight 3 s, and close their segments; whoever has not ended by then is
# cut off, so that Ctrl-C is answered within 10 s.
_CUT_OFF_AFTER_S = 8.0


def begin(folder: StatusFolder) -> None:
    """Open an evaluation's status folder.

    Raises:
        EvaluationError: storage can't be written; nothing was called.
    """
    try:
        folder.begin()
    except OSError as error:
        raise EvaluationError(
            f"{folder.root} can't be written: {error}; make room or mend the rights, then start the same command again"
        ) from error


def close(folder: StatusFolder) -> None:
    """Take an evaluation's status folder away; it has served."""
    try:
        folder.remove()
    except OSError as error:
        log.warning("can't remove %s: %s", folder.folder, error)


@contextlib.contextmanager
def stoppable(spark: SparkSession, folder: StatusFolder) -> Iterator[None]:
    """While the block runs a Spark job, have the first Ctrl-C or SIGTERM end its tasks cleanly, a second one at once.

    Raises:
        KeyboardInterrupt: after the block, when it was interrupted; the tasks have put what was paid on storage.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread; whoever runs us beside it stops us in his own way
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    timer = threading.Timer(_CUT_OFF_AFTER_S, _cut_off, args=(spark,))
    timer.daemon = True

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(number)
        log.info("stopping: what was paid for is put on storage (again to stop at once)")
        timer.start()
        try:
            folder.stop(Stop(INTERRUPTED, "the run was interrupted"))
        except OSError as error:
            log.warning("can't tell the tasks to stop: %s", error)
            _cut_off(spark)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    except BaseException:
        if not received:
            raise
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise Terminated if received[0] == signal.SIGTERM else KeyboardInterrupt


def _cut_off(spark: SparkSession) -> None:
    try:
        spark.interruptAll()
    except Exception as error:
        # Whatever it is, the second signal still ends the process.
        log.warning("Spark can't cancel the job: %s", error)


def stopped_error(message: str, *, stage: str, done: TaskStatus, pairs: int) -> EvaluationError:
    """Return the error of a job that was stopped: why, how far it is, and how to go on."""
    kept = done.done - done.failed  # a row whose call failed was paid for by nobody
    return EvaluationError(
        f"{message}. {kept:,} of {pairs:,} rows of {stage} are done and kept; mend the cause and start the same "
        "command again with the same --run-dir to go on without paying twice."
    )
