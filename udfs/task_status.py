"""What the tasks of one evaluation tell the driver, and the driver them: small files in a folder on shared storage.

It works the same on classic Spark, Spark Connect and serverless compute, because it uses nothing of Spark. A task
rewrites ``p00003.json`` every two seconds and leaves ``p00003.done`` when it has ended; a file ``stop.json``, from
whomever, ends all tasks; ``begun.json`` is the driver's, so that a task on a machine that does not share the storage
finds that out before it pays for anything. Where several evaluations share an endpoint, the driver's ``parts.json``
says what part of its limits this one may use, and a task's ``p00003.parts`` which version of it the task keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from udfs.errors import InputError
from udfs.files import filesystem_of, names_in, read_whole, write_whole
from udfs.parts import Parts

FORMAT_VERSION = 1
# Kinds of a stop that are no ErrorKind.
INTERRUPTED, LEDGER = "interrupted", "ledger"
_BEGUN, _STOP, _PARTS = "begun.json", "stop.json", "parts.json"


@dataclass(frozen=True)
class TaskStatus:
    """How far one task is: rows, attempts and tokens so far, and calls in flight now.

    ``done`` counts finished rows; ``reused`` those of them that the ledger answered; ``cost`` is in the endpoints'
    currency; ``answered_at`` is the Unix time of the latest answer, 0 before the first; ``warming_up`` counts tasks
    that wait for an endpoint that had scaled to zero.
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    retried: int = 0
    refused: int = 0
    in_flight: int = 0
    tokens: int = 0
    cost: float = 0.0
    score_sum: float = 0.0
    scored: int = 0
    answered_at: float = 0.0
    warming_up: int = 0

    def __add__(self, other: TaskStatus) -> TaskStatus:
        """Add up two tasks; the latest answer is the later of the two."""
        ours, theirs = asdict(self), asdict(other)
        summed = {name: ours[name] + theirs[name] for name in ours}
        return TaskStatus(**summed | {"answered_at": max(self.answered_at, other.answered_at)})


@dataclass(frozen=True)
class Stop:
    """Why all tasks of an evaluation end.

    ``kind`` is an :class:`udfs.errors.ErrorKind`, :data:`INTERRUPTED` or :data:`LEDGER`.
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Look:
    """One look into the folder: whether a stop or parts are there, and which partitions have ended."""

    stopped: bool
    ended: frozenset[int]
    has_parts: bool = False


@dataclass(frozen=True)
class StatusFolder:
    """The status files of one evaluation, under the storage's ``root``."""

    root: str
    evaluation_id: str

    @property
    def folder(self) -> str:
        """Where they are."""
        return f"{self.root.rstrip('/')}/status/v{FORMAT_VERSION}/{self.evaluation_id}"

    def begin(self) -> None:
        """Say, from the driver, that the evaluation begins.

        Raises:
            OSError: storage refuses it.
        """
        write_whole(f"{self.folder}/{_BEGUN}", b"{}")

    def check_shared(self) -> None:
        """Make sure, on a worker, that the driver's storage is this machine's, too.

        Raises:
            InputError: it is not; nothing was called.
        """
        if read_whole(f"{self.folder}/{_BEGUN}") is None:
            raise InputError(
                f"storage.root {self.root} is not the same folder on this worker as on the driver; set it to storage "
                "that the whole cluster sees: a shared mount, /Volumes/…, or an object-store URI"
            )

    def report(self, partition: int, status: TaskStatus) -> None:
        """Write a task's status over its last one."""
        write_whole(f"{self.folder}/p{partition:05d}.json", json.dumps(asdict(status)).encode())

    def end(self, partition: int) -> None:
        """Say that a task has ended, so that what it held of the limits passes to the others."""
        write_whole(f"{self.folder}/p{partition:05d}.done", b"")

    def look(self) -> Look:
        """List the folder."""
        names = names_in(self.folder)
        ended = frozenset(int(name[1:6]) for name in names if name.endswith(".done"))
        return Look(_STOP in names, ended, _PARTS in names)

    def statuses(self) -> dict[int, TaskStatus]:
        """Return what the tasks reported last, by partition."""
        found = {}
        for name in names_in(self.folder):
            if name.startswith("p") and name.endswith(".json") and name != _PARTS:
                content = read_whole(f"{self.folder}/{name}")
                if content:
                    known = {field.name for field in fields(TaskStatus)}
                    values = {key: value for key, value in json.loads(content).items() if key in known}
                    found[int(name[1:6])] = TaskStatus(**values)
        return found

    def hand_out(self, parts: Parts) -> None:
        """Tell the tasks, from the driver, what parts of the endpoints' limits are the evaluation's from now on.

        Raises:
            OSError: storage refuses it.
        """
        write_whole(f"{self.folder}/{_PARTS}", parts.to_json().encode())

    def parts(self) -> Parts | None:
        """Return what the driver has handed out last; ``None`` where it has not."""
        content = read_whole(f"{self.folder}/{_PARTS}")
        return Parts.from_json(content) if content else None

    def keep_to(self, partition: int, parts: Parts) -> None:
        """Say that a task keeps to these parts, its calls in flight included."""
        write_whole(f"{self.folder}/p{partition:05d}.parts", str(parts.version).encode())

    def kept_version(self) -> int | None:
        """Return the version of the parts that all running tasks keep to; ``None`` while no task runs."""
        names = names_in(self.folder)
        begun = {name[:6] for name in names if name.startswith("p") and name.endswith(".json") and name != _PARTS}
        running = begun - {name[:6] for name in names if name.endswith(".done")}
        told = [read_whole(f"{self.folder}/{partition}.parts") for partition in running]
        return min((int(content) if content else -1 for content in told), default=None)

    def stop(self, stop: Stop) -> None:
        """Have all tasks end; the first reason stays.

        Raises:
            OSError: storage refuses it.
        """
        if self.stopped() is None:
            write_whole(f"{self.folder}/{_STOP}", json.dumps(asdict(stop)).encode())

    def stopped(self) -> Stop | None:
        """Return why the tasks end; ``None`` while they go on."""
        content = read_whole(f"{self.folder}/{_STOP}")
        return Stop(**json.loads(content)) if content else None

    def remove(self) -> None:
        """Take the folder away, from the driver, when the evaluation has ended."""
        filesystem, path = filesystem_of(self.folder)
        filesystem.delete_dir(path)


def total(statuses: Iterable[TaskStatus]) -> TaskStatus:
    """Add up the tasks' statuses.

    >>> total([TaskStatus(done=2), TaskStatus(done=3, in_flight=1)]).done
    5
    """
    return sum(statuses, TaskStatus())
