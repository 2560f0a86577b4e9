"""Rows that several optimizations of a batch read from the same place: read, grouped and written once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from pyspark.sql import DataFrame, SparkSession

from engine.config import DatasetModel, PromptOptimizationModel
from engine.sources import is_traced, read_rows
from engine.storage import Storage

Reader = Callable[[SparkSession, DatasetModel, Storage], DataFrame]


class SharedRows:
    """Reads each data set that several optimizations have in common once a batch, into ``datasets`` of its folder.

    Thread-safe: who comes while it is being read waits for it.
    """

    def __init__(self, storage: Storage, optimizations: Mapping[str, PromptOptimizationModel]) -> None:
        self._storage = storage
        users = Counter(_id(settings.dataset) for settings in optimizations.values())
        self._locks = {one: threading.Lock() for one, count in users.items() if count > 1}
        self._read: dict[str, DataFrame] = {}

    def read(self, dataset: DatasetModel) -> Reader | None:
        """Return what reads the rows of ``dataset`` for one optimization, ``None`` where it reads its own.

        What is found in traces is each prompt's own.
        """
        found = _id(dataset)
        lock = self._locks.get(found)
        if lock is None or is_traced(dataset):
            return None

        def shared(spark: SparkSession, dataset: DatasetModel, storage: Storage) -> DataFrame:
            del storage
            place = Storage(self._storage.root, self._storage.folder(f"datasets/{found}"))
            with lock:
                if found not in self._read:
                    self._read[found] = read_rows(spark, dataset, place)
                return self._read[found]

        return shared


def _id(dataset: DatasetModel) -> str:
    return hashlib.sha256(json.dumps(dataset.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]
