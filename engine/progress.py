"""Progress of long work: what is told, and to whom. An observer can't break a run."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from udfs.rollout import Rollout
from udfs.tally import Tally
from udfs.task_status import StatusFolder, TaskStatus, total

log = logging.getLogger(__name__)

# Tasks report every 2 s.
_LOOK_EVERY_S = 1.0
# The rate, and the time left, are of the last so many seconds: what was an hour ago says little about the end.
_RATE_OVER_S = 20.0


@dataclass(frozen=True)
class Snapshot:
    """How far a stage is: pairs done of ``total``, and what its tasks have counted (:class:`TaskStatus`).

    ``per_s`` is the rate of the last seconds, in pairs; ``None`` until two looks have seen progress.
    """

    stage: str
    total: int
    tasks: TaskStatus = field(default_factory=TaskStatus)
    elapsed_s: float = 0.0
    per_s: float | None = None
    currency: str = ""

    @property
    def done(self) -> int:
        """Pairs done, never more than the total (an attempt that is made again counts its rows again)."""
        return min(self.tasks.done, self.total)

    @property
    def score(self) -> float | None:
        """The mean score so far; ``None`` before the first."""
        return self.tasks.score_sum / self.tasks.scored if self.tasks.scored else None

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end of the stage; ``None`` until something is done.

        >>> Snapshot("val", total=40, tasks=TaskStatus(done=10), elapsed_s=5.0).left_s
        15.0
        """
        per_s = self.per_s or (self.done / self.elapsed_s if self.elapsed_s else None)
        return (self.total - self.done) / per_s if per_s else None


@dataclass
class Progress:
    """Counts a run's stages and tells ``show``; a failing observer is logged once and then left alone."""

    show: Callable[[Snapshot], None] | None = None
    say: Callable[[str], None] | None = None
    clock: Callable[[], float] = time.monotonic
    _snapshot: Snapshot = field(default_factory=lambda: Snapshot("", 0))
    _started: float = 0.0
    _looks: deque[tuple[float, int]] = field(default_factory=deque)

    def stage(self, name: str, total: int, *, currency: str = "") -> None:
        """Begin a stage of so many pairs, whose costs are in ``currency``."""
        self._started = self.clock()
        self._looks.clear()
        self._update(Snapshot(name, total, currency=currency))

    def ended(self, rollouts: Sequence[Rollout]) -> None:
        """Report the stage as done, with these rollouts as its outcome."""
        tally = Tally(None, None)
        for rollout in rollouts:
            tally.add(rollout)
        self._update(replace(self._snapshot, tasks=replace(tally.status, done=self._snapshot.total)))

    def seen(self, tasks: TaskStatus) -> None:
        """Report what the tasks of a running Spark job have counted so far, all together."""
        now = self.clock()
        self._looks.append((now, tasks.done))
        while now - self._looks[0][0] > _RATE_OVER_S:
            self._looks.popleft()
        since, before = self._looks[0]
        gained = tasks.done - before
        per_s = gained / (now - since) if gained > 0 and now > since else None
        self._update(replace(self._snapshot, tasks=tasks, per_s=per_s))

    def finish_stage(self) -> None:
        """Report the stage as done."""
        tasks = replace(self._snapshot.tasks, done=self._snapshot.total, in_flight=0)
        self._update(replace(self._snapshot, tasks=tasks))

    def tell(self, line: str) -> None:
        """Tell a line: a candidate's score, a rejected proposal, a verdict."""
        self._guarded(self.say, line)

    def _update(self, snapshot: Snapshot) -> None:
        self._snapshot = replace(snapshot, elapsed_s=self.clock() - self._started)
        self._guarded(self.show, self._snapshot)

    def _guarded(self, observer: Callable[..., None] | None, value: object) -> None:
        if observer is None:
            return
        try:
            observer(value)
        except Exception:
            # Whatever an observer raises, the run that it watches goes on.
            log.warning("the progress display failed and is switched off", exc_info=True)
            self.show = self.say = None


@contextlib.contextmanager
def watch_tasks(folder: StatusFolder, progress: Progress) -> Iterator[None]:
    """While the block runs, report what the evaluation's tasks say of themselves.

    Works wherever the executors are, because it reads storage and no Spark internals.
    """
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_LOOK_EVERY_S):
            try:
                progress.seen(total(folder.statuses().values()))
            except Exception:
                # Progress only; the job itself reports what is wrong with its storage.
                log.debug("can't read the tasks' statuses for progress", exc_info=True)

    thread = threading.Thread(target=look, name="promptmill-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
