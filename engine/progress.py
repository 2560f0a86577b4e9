"""Progress of long work: what is told, and to whom. An observer can't break a run."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from udfs.ledger import LedgerLocation
from udfs.rollout import Rollout

log = logging.getLogger(__name__)

# Segments are closed every 5 s, so looking more often shows nothing new.
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class Snapshot:
    """How far a stage is: pairs done of ``total``, the mean score so far, tokens, seconds, and seconds left."""

    stage: str
    done: int
    total: int
    score: float | None
    tokens: int
    elapsed_s: float

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end of the stage; ``None`` until something is done.

        >>> Snapshot("val", done=10, total=40, score=0.5, tokens=0, elapsed_s=5.0).left_s
        15.0
        """
        return self.elapsed_s / self.done * (self.total - self.done) if self.done else None


@dataclass
class Progress:
    """Counts a run's stages and tells ``show``; a failing observer is logged once and then left alone."""

    show: Callable[[Snapshot], None] | None = None
    say: Callable[[str], None] | None = None
    clock: Callable[[], float] = time.monotonic
    _snapshot: Snapshot = field(default_factory=lambda: Snapshot("", 0, 0, None, 0, 0.0))
    _started: float = 0.0

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of so many pairs."""
        self._started = self.clock()
        self._update(Snapshot(name, 0, total, None, 0, 0.0))

    def ended(self, rollouts: Sequence[Rollout]) -> None:
        """Report the stage as done, with these rollouts as its outcome."""
        scores = [r.score for r in rollouts if r.score is not None]
        tokens = sum(r.prompt_tokens + r.completion_tokens for r in rollouts if not r.reused)
        mean = sum(scores) / len(scores) if scores else None
        self._update(replace(self._snapshot, done=self._snapshot.total, score=mean, tokens=tokens))

    def seen(self, done: int, tokens: int) -> None:
        """Report what a running Spark job has on storage so far."""
        self._update(replace(self._snapshot, done=min(done, self._snapshot.total), tokens=tokens))

    def finish_stage(self) -> None:
        """Report the stage as done."""
        self._update(replace(self._snapshot, done=self._snapshot.total))

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
def watch_segments(ledger: LedgerLocation, evaluation_id: str, progress: Progress) -> Iterator[None]:
    """While the block runs, report what the evaluation's tasks have put into the ledger.

    Works wherever the executors are, because it reads storage and no Spark internals.
    """
    stop = threading.Event()

    def look() -> None:
        seen: dict[str, tuple[int, int]] = {}
        while not stop.wait(_LOOK_EVERY_S):
            try:
                for path in ledger.segments(evaluation_id):
                    if path not in seen:
                        seen[path] = _count(ledger, path)
                progress.seen(sum(n for n, _ in seen.values()), sum(t for _, t in seen.values()))
            except Exception:
                # Progress only; the job itself reports what is wrong with its storage.
                log.debug("can't read the ledger's segments for progress", exc_info=True)

    thread = threading.Thread(target=look, name="promptmill-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _count(ledger: LedgerLocation, path: str) -> tuple[int, int]:
    """Answers and tokens in one segment."""
    import pyarrow.parquet as pq

    filesystem, _ = ledger.filesystem()
    table = pq.read_table(path, filesystem=filesystem, columns=["kind", "prompt_tokens", "completion_tokens"])
    kinds = table.column("kind").to_pylist()
    tokens = sum(table.column("prompt_tokens").to_pylist()) + sum(table.column("completion_tokens").to_pylist())
    return sum(kind == "answer" for kind in kinds), tokens
