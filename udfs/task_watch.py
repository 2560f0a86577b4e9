"""What runs beside a task's calls: reports how far it is, ends it when all shall end, takes over freed limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from udfs.errors import ErrorKind, EvaluationStopped, LedgerError
from udfs.health import DEAD_AFTER_S
from udfs.parts import Parts
from udfs.task_status import LEDGER, StatusFolder, Stop

if TYPE_CHECKING:
    from udfs.calls import Calls
    from udfs.evaluator import Evaluator

log = logging.getLogger(__name__)

# How often a task looks after itself, writes its status, and lists the folder.
_TICK_S = 0.5
_REPORT_EVERY_S = 2.0
# When all shall end, calls in flight, which are paid for, get so long to be answered.
_GRACE_S = 3.0


async def end_when_dead(calls: Calls) -> None:
    """Run beside an evaluation that has no other tasks, until cancelled.

    Raises:
        EvaluationStopped: an endpoint is dead or refuses us.
    """
    while True:
        await asyncio.sleep(_TICK_S)
        await end_if_dead(calls)


async def end_if_dead(calls: Calls) -> None:
    """Raise what there is to say of an endpoint that is dead or refuses us; see :func:`drain`.

    Raises:
        EvaluationStopped: there is such an endpoint.
    """
    dead = calls.verdict()
    if dead is not None:
        await drain(calls)
        raise EvaluationStopped(dead.kind.value, dead.message)


async def drain(calls: Calls) -> None:
    """Start nothing new, and wait a little for what is in flight: it is paid for, so its answers are to be kept."""
    calls.hold()
    until = time.monotonic() + _GRACE_S
    while calls.in_flight and time.monotonic() < until:  # noqa: ASYNC110 - many calls, no one event
        await asyncio.sleep(0.05)


class TaskWatch:
    """Watches over one task of an evaluation whose tasks share ``folder``; lives on the event loop."""

    def __init__(self, folder: StatusFolder, evaluator: Evaluator, *, partition: int, tasks: int) -> None:
        self._folder = folder
        self._evaluator = evaluator
        self._partition = partition
        self._tasks = tasks
        self._ended: frozenset[int] = frozenset()
        self._holding = False
        self._parts: Parts | None = None
        self._keeps = True

    def begin(self) -> None:
        """Make sure, before the first call, that storage is shared and that nobody has stopped the evaluation.

        Raises:
            InputError: this machine does not see the driver's storage.
            EvaluationStopped: somebody has.
            LedgerError: storage can't be written, so answers could not be kept.
        """
        self._folder.check_shared()
        self._raise_if_stopped()
        try:
            self._folder.report(self._partition, self._evaluator.status())
        except OSError as error:
            raise LedgerError(
                f"{self._folder.root} can't be written: {error}; make room or mend the rights, then start the same "
                "command again"
            ) from error
        # After the report: a driver that has not seen this task yet has handed its parts out before this look.
        self._take(self._handed_out())
        if self._parts is not None:
            self._folder.keep_to(self._partition, self._parts)
            self._keeps = True

    def end(self) -> None:
        """Report for the last time; what this task held of the limits passes to the others."""
        try:
            self._folder.report(self._partition, self._evaluator.status())
            self._folder.end(self._partition)
        except OSError as error:
            log.warning("can't write the status of partition %d: %s", self._partition, error)

    def give_up(self, error: LedgerError | EvaluationStopped) -> None:
        """Stop all tasks for this one's reason: each further call would be paid for, or asked, in vain.

        Not where others' answers show that only this machine has lost the endpoint: then Spark moves the task.
        """
        kind = error.kind if isinstance(error, EvaluationStopped) else LEDGER
        # Storage is most likely full or forbidden, too, where the ledger was; a new attempt then ends at once.
        with contextlib.suppress(OSError):
            # Once more: what is told about the end then counts the rows up to it.
            self._folder.report(self._partition, self._evaluator.status())
            if isinstance(error, LedgerError) or kind == ErrorKind.CREDENTIALS or not self._others_are_served():
                self._folder.stop(Stop(kind, str(error)))

    def _others_are_served(self) -> bool:
        statuses = self._folder.statuses()
        latest = max((s.answered_at for p, s in statuses.items() if p != self._partition), default=0.0)
        return time.time() - latest <= DEAD_AFTER_S

    async def watch(self) -> None:
        """Run until cancelled.

        Raises:
            EvaluationStopped: the evaluation shall end; calls in flight were given a few seconds.
            LedgerError: storage refuses answers for good.
        """
        reported_at = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            await end_if_dead(self._evaluator.calls)
            self._spare_what_could_not_be_kept()
            await self._say_when_kept()
            if time.monotonic() - reported_at >= _REPORT_EVERY_S:
                reported_at = time.monotonic()
                await self._report()

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self._folder.report, self._partition, self._evaluator.status())
            look = await loop.run_in_executor(None, self._folder.look)
        except OSError as error:
            # The ledger has its own word to say about storage that fails; a missed status harms nobody.
            log.warning("can't write the status of partition %d: %s", self._partition, error)
            return
        if look.stopped:
            await drain(self._evaluator.calls)
            await loop.run_in_executor(None, self._raise_if_stopped)
        if look.has_parts:
            self._take(await loop.run_in_executor(None, self._handed_out))
        if look.ended != self._ended:
            self._ended = look.ended
            self._evaluator.calls.share(max(1, self._tasks - len(look.ended - {self._partition})))

    def _handed_out(self) -> Parts | None:
        """Read what the driver has handed out; what can't be read now is looked for again at the next report."""
        try:
            return self._folder.parts()
        except (OSError, ValueError) as error:
            log.warning("can't read what part of the limits is ours: %s", error)
            return None

    def _take(self, parts: Parts | None) -> None:
        if parts is not None and (self._parts is None or parts.version > self._parts.version):
            self._parts, self._keeps = parts, False
            self._evaluator.calls.take(parts)

    async def _say_when_kept(self) -> None:
        """Let the driver know as soon as no more calls are in flight than the new parts allow."""
        if self._parts is None or self._keeps or not self._evaluator.calls.keeps_limits:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._folder.keep_to, self._partition, self._parts)
        except OSError as error:
            log.warning("can't write which part of the limits partition %d keeps: %s", self._partition, error)
            return
        self._keeps = True

    def _spare_what_could_not_be_kept(self) -> None:
        """Ask for nothing while storage refuses answers; when it takes them again, go on."""
        stutters = self._evaluator.storage_stutters()
        if stutters != self._holding:
            self._holding = stutters
            (self._evaluator.calls.hold if stutters else self._evaluator.calls.release)()

    def _raise_if_stopped(self) -> None:
        stop = self._folder.stopped()
        if stop is not None:
            raise EvaluationStopped(stop.kind, stop.message)
