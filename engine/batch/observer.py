"""Who is told how a batch goes: one Progress for each optimization that runs, and each one's end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from engine.batch.line import BatchLine
from engine.progress import Progress, Snapshot


class BatchObserver(Protocol):
    """Told from the threads of optimizations, one call at a time for each of them."""

    def begin(self, keys: Sequence[str], done: Sequence[BatchLine]) -> None:
        """Hear what is to be run, and what was done before."""
        ...

    def started(self, key: str) -> Progress:
        """Return the progress of one that begins."""
        ...

    def ended(self, line: BatchLine) -> None:
        """Hear what became of one."""
        ...

    def close(self) -> None:
        """Hear that no more is to be told: all is done, or was interrupted."""
        ...


@dataclass
class Relayed:
    """Tells everything to one Progress, with the optimization's key before it; the reference implementation."""

    progress: Progress = field(default_factory=Progress)
    _closed: bool = False

    def begin(self, keys: Sequence[str], done: Sequence[BatchLine]) -> None:
        """Tell nothing: a Progress knows stages only."""

    def started(self, key: str) -> Progress:
        """Return a Progress whose stages and lines begin with the key."""
        told = self.progress

        def show(snapshot: Snapshot) -> None:
            if told.show is not None and not self._closed:
                told.show(replace(snapshot, stage=f"{key}: {snapshot.stage}"))

        def say(line: str) -> None:
            if told.say is not None and not self._closed:
                told.say(f"{key}: {line}")

        return Progress(show=show, say=say)

    def ended(self, line: BatchLine) -> None:
        """Tell the verdict."""
        self.progress.tell(f"{line.name}: {line.status}: {line.reason}")

    def close(self) -> None:
        """Tell no more: how to go on is told for the batch, not for each of its runs."""
        self._closed = True
