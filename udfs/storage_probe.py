"""Whether a worker sees the driver's storage, and how the driver sees what the worker writes: the worker's half."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from udfs.files import filesystem_of, names_in, read_whole, write_whole

LINE_DDL = "place int, host string, name string, seen boolean, error string"
_DRIVERS = "driver"


@dataclass(frozen=True)
class StorageProbe:
    """A folder, the same by name for driver and workers, and what the driver writes into it."""

    folder: str
    token: str

    def begin(self) -> None:
        """Leave the driver's mark.

        Raises:
            OSError: storage refuses it.
        """
        write_whole(f"{self.folder}/{_DRIVERS}", self.token.encode())

    def answer(self, name: str) -> tuple[bool, str | None]:
        """On a worker: look for the driver's mark and leave one called ``name``.

        Return whether the driver's was there, and the error of a storage that refuses.
        """
        try:
            seen = read_whole(f"{self.folder}/{_DRIVERS}") == self.token.encode()
            write_whole(f"{self.folder}/{name}", b"")
        except (OSError, pa.ArrowException) as error:
            return False, f"{type(error).__name__}: {error}"
        return seen, None

    def answers(self) -> frozenset[str]:
        """On the driver: return the names that workers have left."""
        return frozenset(names_in(self.folder)) - {_DRIVERS}

    def end(self) -> None:
        """On the driver: take the folder away.

        Raises:
            OSError: storage refuses it.
        """
        filesystem, path = filesystem_of(self.folder)
        filesystem.delete_dir(path)


@dataclass(frozen=True)
class WorkerLook:
    """What a task does for each of its numbers: it answers every probe, one line each (:data:`LINE_DDL`)."""

    probes: tuple[StorageProbe, ...]

    def __call__(self, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Answer for the numbers in the column ``id``."""
        for batch in batches:
            lines = []
            for number in batch["id"].tolist():
                for place, probe in enumerate(self.probes):
                    name = f"worker-{number}"
                    seen, error = probe.answer(name)
                    lines.append((place, socket.gethostname(), name, seen, error))
            yield pd.DataFrame(lines, columns=[column.split()[0] for column in LINE_DDL.split(", ")])
