"""Do driver and executors see the same storage? Asked once a session and place, before anything is paid for.

On a cluster a folder of one machine's own disk looks right everywhere and is another one everywhere: the answers would
be paid for, written where nobody finds them, and paid for again.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pyspark.sql import SparkSession

from engine.errors import EnvironmentProblem, InputError
from engine.session import is_one_machine, ship_udfs
from engine.storage import Storage
from udfs.storage_probe import LINE_DDL, StorageProbe, WorkerLook

# Tasks of the job that looks: a usual cluster's executors get one each, and it takes a second where they are warm.
_TASKS = 32
_MEND = (
    "a cluster needs a place that all its machines see: a shared mount, /Volumes/…, or an object-store URI "
    "(s3://, abfss://, gs://)"
)

_SHARED: WeakKeyDictionary[SparkSession, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Place:
    """A folder that must be shared, and the setting that names it."""

    folder: str
    setting: str


def check_shared(spark: SparkSession, storage: Storage) -> None:
    """Make sure that the driver reads what executors write to ``storage``, and the reverse; one small job.

    Nothing is done for a Spark that is this process, nor for what was looked at before in this session. It can't be
    known that the job reaches every executor, and those that come later are not asked: they look for the driver's
    folder again before their first call.

    Raises:
        InputError: they do not; the message names the setting, the folder and the hosts.
        EnvironmentProblem: the job itself failed: executors lack Python or a package.
    """
    if is_one_machine(spark):
        return
    known = _SHARED.setdefault(spark, set())
    places = [place for place in _places(storage) if place.folder not in known]
    if not places:
        return
    ship_udfs(spark)
    probes = tuple(StorageProbe(f"{place.folder}/probe-{uuid.uuid4().hex}", uuid.uuid4().hex) for place in places)
    try:
        _ask(spark, places, probes)
    finally:
        for probe in probes:
            with contextlib.suppress(OSError):  # a few empty files on a storage that is refused anyway
                probe.end()
    known.update(place.folder for place in places)


def _places(storage: Storage) -> list[_Place]:
    found = [_Place(storage.root, "storage.root")]
    if not f"{storage.data_dir}/".startswith(f"{storage.root}/"):
        found.append(_Place(storage.data_dir, "the run directory (--run-dir)"))
    return found


def _ask(spark: SparkSession, places: Sequence[_Place], probes: tuple[StorageProbe, ...]) -> None:
    for place, probe in zip(places, probes, strict=True):
        try:
            probe.begin()
        except OSError as error:
            raise InputError(f"{place.setting} {place.folder} can't be written by the driver: {error}") from error
    try:
        lines = spark.range(0, _TASKS, 1, _TASKS).mapInPandas(WorkerLook(probes), LINE_DDL).collect()
    except Exception as error:  # py4j's, gRPC's and Spark's own have no common class
        raise EnvironmentProblem(
            f"the executors can't run promptmill's code: {_last_line(error)}. They need Python with pandas, pyarrow, "
            "aiohttp and tenacity (docs/operations.md)"
        ) from error
    of_place = defaultdict(list)
    for line in lines:
        of_place[line["place"]].append(line)
    for number, (place, probe) in enumerate(zip(places, probes, strict=True)):
        said = judge(place.setting, place.folder, of_place[number], probe.answers())
        if said is not None:
            raise InputError(said)


def judge(setting: str, folder: str, lines: Sequence[tuple[Any, ...]], answers: frozenset[str]) -> str | None:
    """Return what is wrong, ``None`` where all is well.

    ``lines`` are what the workers said (:data:`udfs.storage_probe.LINE_DDL`), ``answers`` the names that the driver
    finds of them.

    >>> judge("storage.root", "/data", [(0, "a1", "worker-0", True, None)], frozenset({"worker-0"}))
    >>> judge("storage.root", "/data", [(0, "a1", "worker-0", True, None)], frozenset())[:76]
    'storage.root /data is not the same place for driver and executors: what a1 w'
    """
    refused = {str(host): str(error) for _, host, _, _, error in lines if error is not None}
    if refused:
        host, error = next(iter(sorted(refused.items())))
        return f"{setting} {folder} can't be read and written by the executors ({host}: {error}); {_MEND}"
    blind = sorted({str(host) for _, host, _, seen, _ in lines if not seen})
    if blind:
        return (
            f"{setting} {folder} is not seen by the executors: {_named(blind)} did not find what the driver has "
            f"written there; {_MEND}"
        )
    lost = sorted({str(host) for _, host, name, _, _ in lines if name not in answers})
    if lost:
        return (
            f"{setting} {folder} is not the same place for driver and executors: what {_named(lost)} wrote there is "
            f"not seen by the driver; {_MEND}"
        )
    return None


def _named(hosts: Sequence[str]) -> str:
    """Name some hosts.

    >>> _named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(hosts) - 3
    return f"{', '.join(hosts[:3])} and {more} more" if more > 0 else ", ".join(hosts)


def _last_line(error: Exception) -> str:
    r"""Return the line of a worker's traceback that says what happened, else the first line of the message.

    >>> _last_line(ValueError("Job aborted\n  File x\nModuleNotFoundError: No module named 'pandas'\n\tat org.x"))
    "ModuleNotFoundError: No module named 'pandas'"
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) and " " not in line[:20]]
    python = [line for line in named if not line.startswith(("org.", "java.", "py4j."))]
    return next(iter(python), lines[0] if lines else type(error).__name__).rstrip(".")
