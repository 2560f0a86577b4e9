"""One promise an endpoint for all that run at once: who may use what part of it, and when parts change hands.

Optimizations that run at the same time, on threads of one driver, share endpoints. Each of their stages takes a
:class:`Lease` of its endpoints' limits first. The parts that all leases may be using never add up to more than the
promise: a part is given to another only after every task that held it has said that it keeps to less, calls in flight
included (``udfs.task_watch``). So that a stage need not wait for that, each optimization that could begin one at any
time has half of its fair part kept free for it.

Why it is so: decision 19.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.interruption import Interrupted
from udfs.endpoint import Limits
from udfs.parts import Parts, Place
from udfs.task_status import StatusFolder

log = logging.getLogger(__name__)

# An interrupted driver must not wait longer than this for a thread that waits here.
_LOOK_EVERY_S = 0.5
# How often a stage's tasks are told what changed; they look every 2 s.
_REFRESH_EVERY_S = 1.0


@dataclass(eq=False)
class Lease:
    """A stage's parts. ``tasks`` are its task slots, 0 for one on the driver; ``held`` is what its tasks may be using.

    A lease whose ``adjusts`` is false keeps what it began with: short stages, that nobody could tell in time.
    """

    limits: Mapping[Place, Limits]
    tasks: int
    adjusts: bool
    stop: Callable[[], None] | None = None
    held: dict[Place, float] = field(default_factory=dict)
    parts: Parts = field(default_factory=Parts)


class Sharing:
    """Shares promises among at most ``parallel`` optimizations that run at once; each has one lease at a time.

    ``users`` says how many optimizations that are not done yet use each place, ``slots`` how many tasks the cluster
    runs at once. Thread-safe.
    """

    def __init__(self, users: Mapping[Place, int], *, parallel: int, slots: int) -> None:
        self._users = dict(users)
        self._parallel = parallel
        self._slots = slots
        self._running: list[Lease] = []
        self._waiting: list[Lease] = []
        self._changed = threading.Condition()
        self._interrupted = False

    def leave(self, places: Iterable[Place]) -> None:
        """Say that an optimization which used these places is done: the others' fair parts grow."""
        with self._changed:
            for place in places:
                if place in self._users:
                    self._users[place] -= 1
            self._changed.notify_all()

    def interrupt(self) -> None:
        """End all stages that run, and let none begin: their threads get an Interrupted."""
        with self._changed:
            self._interrupted = True
            stops = [lease.stop for lease in self._running if lease.stop is not None]
            self._changed.notify_all()
        for stop in stops:
            stop()

    @property
    def is_interrupted(self) -> bool:
        """Whether all shall end."""
        return self._interrupted

    def tasks(self, limits: Mapping[Place, Limits], cores: int) -> int:
        """Return the most tasks of a stage: as many as its fair part has calls and cores for, and at least one."""
        with self._changed:
            seats = {place: self._seats(place) for place in limits}
        calls = [limits[place].calls_at_once(1 / count) for place, count in seats.items()]
        return max(1, min([cores // max(seats.values(), default=1), *calls]))

    @contextmanager
    def lease(
        self, limits: Mapping[Place, Limits], *, tasks: int = 0, stop: Callable[[], None] | None = None
    ) -> Iterator[Lease]:
        """Hold parts of ``limits`` (by place, as promised for the whole cluster) while the block runs.

        Waits until each part is a whole call a task at least, and the cluster has ``tasks`` slots free. A lease of
        tasks is to be refreshed (:meth:`refresh`) while they run; one without tasks stays as it is. ``stop`` is called
        on :meth:`interrupt`.

        Raises:
            Interrupted: all shall end.
        """
        lease = Lease(dict(limits), tasks, adjusts=tasks > 0, stop=stop)
        self._begin(lease)
        try:
            yield lease
        finally:
            with self._changed:
                self._running.remove(lease)
                self._changed.notify_all()

    def refresh(self, lease: Lease, kept_version: int | None) -> Parts | None:
        """Return the parts that the lease's tasks are to be told now, ``None`` where they stay as they are.

        ``kept_version`` is the version that all its running tasks keep to (``None`` while none runs): what they held
        beyond it is free for others from now on.
        """
        with self._changed:
            if kept_version is None or kept_version >= lease.parts.version:
                lease.held = dict(lease.parts.by_place)
            wanted = {place: self._wanted(lease, place) for place in lease.limits}
            if all(abs(wanted[place] - lease.parts.of(place)) < 1e-6 for place in wanted):
                self._changed.notify_all()
                return None
            lease.parts = Parts(wanted, lease.parts.version + 1)
            # What the tasks use lies between what they kept to and what they are told, until they say so.
            lease.held = {place: max(lease.held[place], part) for place, part in wanted.items()}
            self._changed.notify_all()
            return lease.parts

    def _begin(self, lease: Lease) -> None:
        with self._changed:
            self._waiting.append(lease)
            try:
                while not self._can_begin(lease):
                    if self._interrupted:
                        raise Interrupted
                    self._changed.wait(_LOOK_EVERY_S)
                if self._interrupted:
                    raise Interrupted
                parts = {place: min(self._free(place, lease), self._fair(place)) for place in lease.limits}
            finally:
                self._waiting.remove(lease)
            lease.held, lease.parts = dict(parts), Parts(parts, 1)
            self._running.append(lease)

    def _has_slots(self, lease: Lease) -> bool:
        busy = sum(one.tasks for one in self._running)
        return not (lease.tasks and busy) or busy + lease.tasks <= self._slots

    def _can_begin(self, lease: Lease) -> bool:
        if not self._has_slots(lease):
            return False
        least = max(1, lease.tasks)
        return all(
            limits.calls_at_once(min(self._free(place, lease), self._fair(place))) >= least
            for place, limits in lease.limits.items()
        )

    def _seats(self, place: Place) -> int:
        # Of a place that nobody has named, all may be users.
        return max(1, min(self._parallel, self._users.get(place, self._parallel)))

    def _at(self, place: Place) -> list[Lease]:
        return [lease for lease in self._running if place in lease.limits]

    def _calls(self, place: Place) -> int:
        """How many calls at once were promised at a place, by the strictest of those who are there."""
        return min(
            (one.limits[place].calls_at_once() for one in (*self._running, *self._waiting) if place in one.limits),
            default=Limits().calls_at_once(),
        )

    def _reserve(self, place: Place) -> float:
        """What is kept free for each optimization that has no lease here now: half its fair part, if it is a call."""
        half = 1 / (2 * self._seats(place))
        return half if self._calls(place) * half >= 1 else 0.0

    def _idle(self, place: Place, *, present: int) -> int:
        return max(0, self._seats(place) - present)

    def _fair(self, place: Place) -> float:
        """The part of each that is here, or waits to be: what is left over by those that are not, in equal parts.

        No more may be here than the promise has calls.
        """
        waiting = sum(place in one.limits and self._has_slots(one) for one in self._waiting)
        present = max(1, min(len(self._at(place)) + waiting, self._calls(place)))
        return (1.0 - self._reserve(place) * self._idle(place, present=present)) / present

    def _free(self, place: Place, lease: Lease) -> float:
        """What no other lease may be using, and nobody's reserve is, for ``lease``."""
        others = [one for one in self._at(place) if one is not lease]
        kept = self._reserve(place) * self._idle(place, present=len(others) + 1)
        return max(0.0, 1.0 - sum(one.held[place] for one in others) - kept)

    def _wanted(self, lease: Lease, place: Place) -> float:
        """A running lease's part from now on: its fair one, as far as it is free."""
        if not lease.adjusts:
            return lease.parts.of(place)
        part = min(self._fair(place), self._free(place, lease))
        # A task keeps a call, however many there are.
        least = max(1, lease.tasks) / max(1, lease.limits[place].calls_at_once())
        return max(part, min(least, lease.held[place]))


@contextmanager
def refreshed(sharing: Sharing, lease: Lease, folder: StatusFolder) -> Iterator[None]:
    """While the block runs a lease's tasks, tell them through ``folder`` when their parts change."""
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(_REFRESH_EVERY_S):
            try:
                parts = sharing.refresh(lease, folder.kept_version())
                if parts is not None:
                    folder.hand_out(parts)
            except Exception:
                # Others wait for less then, and the next look may see more; the job tells what its storage lacks.
                log.debug("parts of limits can't be handed out now", exc_info=True)

    thread = threading.Thread(target=refresh, name="promptmill-sharing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
