"""The Spark session: the one that is there, else one of our own; and what its executors need to run our UDFs."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import io
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pyspark
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812  -- the name that every Spark program gives it

from engine.errors import EnvironmentProblem, InputError
from engine.java import prepare_java

if TYPE_CHECKING:
    from engine.config import AppConfig

# Any of these says that something else decides which Spark this process talks to: spark-submit, `pyspark`, a Connect
# launcher, a Databricks cluster. A master of ours would be a second opinion, and the builder's would win.
_LAUNCHED_FROM_OUTSIDE = (
    "PYSPARK_GATEWAY_PORT",
    "SPARK_REMOTE",
    "SPARK_CONNECT_MODE_ENABLED",
    "DATABRICKS_RUNTIME_VERSION",
)

# A port that refuses does so at once; one that a firewall swallows would have Spark's client retry for ten minutes.
_CONNECT_TIMEOUT_S = 10.0

# Enough rows that each partition of any cluster gets some; Spark counts them in milliseconds without storing one.
_COUNTED_ROWS = 1_000_000


class SparkUnavailable(EnvironmentProblem):
    """No Spark session could be made; the message says for which master or remote, why, and the mend."""


@dataclass(frozen=True)
class SparkSettings:
    """Which Spark to start or join where no session exists yet; ``remote`` (``sc://...``) goes before ``master``."""

    master: str = "local[*]"
    remote: str | None = None
    app_name: str = "promptmill"
    conf: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.remote is not None and not self.remote.startswith("sc://"):
            raise InputError(
                f"spark.remote is {self.remote!r}; it is a Spark Connect address such as sc://host:15002. "
                "A cluster manager's address goes into spark.master."
            )


def spark_session(settings: SparkSettings | None = None) -> SparkSession:
    """Return the session of this process, making one only where there is none.

    A session that exists (classic, Connect, Databricks) comes back untouched, whatever ``settings`` say. Under
    spark-submit and on Databricks the master is the launcher's; there ``settings`` give no more than name and conf.

    Raises:
        SparkUnavailable: Spark can't be started or reached.
        JavaNotFound: a Spark of our own needs a Java and there is none.

    """
    running = _running_session()
    if running is not None:
        return running
    settings = settings or SparkSettings()
    if settings.remote is not None:
        return _remote_session(settings, settings.remote)
    if any(name in os.environ for name in _LAUNCHED_FROM_OUTSIDE):
        return _built(SparkSession.builder.appName(settings.app_name), settings.conf, "the Spark of this environment")
    return _own_session(settings)


def configured_session(app: AppConfig, given: SparkSession | None = None) -> SparkSession:
    """Return ``given``, else the session that exists or that the configuration asks for; ``udfs`` is shipped to it."""
    settings = SparkSettings(master=app.spark.master, remote=app.spark.remote, conf=dict(app.spark.conf))
    session = given or spark_session(settings)
    ship_udfs(session)
    return session


def is_one_machine(spark: SparkSession) -> bool:
    """Say whether the executors of ``spark`` are threads of this process's own JVM, so that they see what it sees.

    A Connect server may stand anywhere, and compute that does not tell its master is a cluster.
    """
    if _is_connect(spark):
        return False
    try:
        master = spark.conf.get("spark.master", "")
    except Exception:  # serverless and shared compute refuse to tell, each with an error of its own
        return False
    return _local_cores(master or "") is not None


def parallelism(spark: SparkSession, *, fresh: bool = False) -> int:
    """Count the tasks that run at once on this Spark; at least 1.

    It is what Spark splits a job into by default: the cores of a local session, of a cluster the cores of the
    executors that have registered (2 while there are none). Executors that come later are seen with ``fresh``;
    without it the answer is kept for the session. So it is an estimate: whoever promises "never more than N at once"
    also gives the job exactly that many partitions, because a job of P partitions never runs more than P tasks.
    """
    known = None if fresh else _PARALLELISM.get(spark)
    if known is None:
        last = spark.range(_COUNTED_ROWS).select(F.spark_partition_id().alias("part")).agg(F.max("part")).first()
        known = 1 if last is None else int(last[0]) + 1
        _PARALLELISM[spark] = known
    return known


def ship_udfs(spark: SparkSession) -> None:
    """Make our package ``udfs`` importable in every Python worker of ``spark``, once a session."""
    import udfs

    ship_package(spark, udfs)


def ship_package(spark: SparkSession, package: ModuleType) -> None:
    """Make ``package``, or a module of one file, importable in every worker of ``spark`` as this process imported it.

    To be called before the frame that uses the package is made: classic Spark notes which files a UDF needs when the
    UDF is bound to a frame, and a frame made earlier fails with ModuleNotFoundError. Calling again on the same session
    does nothing. Only the ``.py`` files travel.

    It ships even where the workers could import the package from their own disk, as in local mode: which paths a
    worker has depends on how its JVM was started, and 0.1 s a session costs less than a rule that is wrong once.
    """
    # One thread at a time: Spark takes a file that another is just copying for one with other content.
    with _SHIPPING:
        archive = _archive_of(package)
        shipped = _SHIPPED.setdefault(spark, set())
        if archive in shipped:
            return
        if _is_connect(spark) or int(pyspark.__version__.split(".")[0]) >= 4:
            spark.addArtifacts(str(archive), pyfile=True)
        else:
            # Classic Spark 3.5 has addArtifacts for Connect only: the one place that needs the context.
            spark.sparkContext.addPyFile(str(archive))
        shipped.add(archive)


_SHIPPING = threading.Lock()
_PARALLELISM: WeakKeyDictionary[SparkSession, int] = WeakKeyDictionary()
_SHIPPED: WeakKeyDictionary[SparkSession, set[Path]] = WeakKeyDictionary()


def _running_session() -> SparkSession | None:
    # Not getActiveSession alone: it knows this thread's session only, and a second thread must not make another.
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    try:
        return SparkSession.active()
    except PySparkException:  # how it says that there is neither an active nor a default one
        return None


def _is_connect(spark: SparkSession) -> bool:
    return ".connect." in type(spark).__module__


def _built(builder: SparkSession.Builder, conf: Mapping[str, str], what: str) -> SparkSession:
    for key, value in conf.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # py4j's, gRPC's and Spark's own have no common class, and none means anything else
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SparkUnavailable(
            f"{what} could not be started: {reason[0].rstrip('.')}. What Spark wrote above says more; check `spark` "
            "in the configuration."
        ) from error


def _remote_session(settings: SparkSettings, remote: str) -> SparkSession:
    _check_reachable(remote)
    builder = SparkSession.builder.remote(remote).appName(settings.app_name)
    return _built(builder, settings.conf, f"the session at spark.remote={_without_parameters(remote)}")


def _without_parameters(remote: str) -> str:
    """Drop ``/;token=...`` from a Connect address: it goes into messages and logs."""
    return remote.split("/;", maxsplit=1)[0]


def _check_reachable(remote: str) -> None:
    """Fail within seconds where nothing listens; Spark's own client would retry for ten minutes."""
    if any(name in os.environ for name in ("grpc_proxy", "https_proxy", "http_proxy")):
        return  # gRPC goes through it, so whether this machine reaches the host by itself says nothing
    address = urlsplit(remote)
    try:
        with socket.create_connection((address.hostname, address.port or 15002), timeout=_CONNECT_TIMEOUT_S):
            return
    except (OSError, ValueError) as error:
        raise SparkUnavailable(
            f"nothing answers at spark.remote={_without_parameters(remote)} ({error}). Start the Spark Connect server "
            "there, mend the address, or leave spark.remote out to run Spark on this machine."
        ) from error


# --- a session of our own ---------------------------------------------------------------------------------------------


def _own_session(settings: SparkSettings) -> SparkSession:
    prepare_java()
    conf = {**_own_conf(settings.master, _scratch_dir()), **settings.conf}
    named = settings.conf.get("spark.driver.extraJavaOptions")
    if named is not None:
        conf["spark.driver.extraJavaOptions"] = f"{_java_options(_scratch_dir())} {named}"  # the last one counts
    builder = SparkSession.builder.master(settings.master).appName(settings.app_name)
    with _workers_run_this_python():
        return _built(builder, conf, f"Spark with spark.master={settings.master}")


def _own_conf(master: str, scratch: Path) -> dict[str, str]:
    """Say what a session of our own is set to, before the user's ``conf``."""
    conf = {
        # A table saved by name, and Derby's log, would otherwise appear in the folder the user stands in.
        "spark.sql.warehouse.dir": (scratch / "warehouse").as_uri(),
        "spark.driver.extraJavaOptions": _java_options(scratch),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.ui.showConsoleProgress": "false",  # it draws over our own progress line
        # The endpoint's client, its connections and what it learnt of the endpoint's capacity outlive a task.
        "spark.python.worker.reuse": "true",
        "spark.sql.debug.maxToStringFields": "1000",  # else Spark warns of every wide plan
    }
    cores = _local_cores(master)
    if cores is None:
        return conf
    return conf | {
        "spark.ui.enabled": "false",  # a port, a second of start-up, and a page that is gone with the process
        # The default of 200 is for clusters: each is a task of 10 ms that does nothing here.
        "spark.sql.shuffle.partitions": str(max(2, cores)),
        # Rows of text stream through; train and val, at most 2,300 rows, are all that stays.
        "spark.driver.memory": "2g",
        # A laptop's own name often resolves to an address of its last network or VPN.
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }


def _local_cores(master: str) -> int | None:
    """Return the cores of a ``local`` master, None for any other.

    >>> _local_cores("local"), _local_cores("local[4]"), _local_cores("local[3, 2]"), _local_cores("yarn")
    (1, 4, 3, None)
    """
    found = re.fullmatch(r"local(?:\[\s*(\*|[0-9]+)\s*(?:,\s*[0-9]+\s*)?\])?", master)
    if found is None:
        return None
    if found[1] == "*":
        return os.cpu_count() or 1
    return int(found[1] or 1)


def _java_options(scratch: Path) -> str:
    log4j = Path(__file__).with_name("log4j2.properties")
    if not log4j.is_file():  # imported from a zip, which the JVM can't look into
        packed = files("engine").joinpath(log4j.name).read_bytes()
        log4j = scratch / log4j.name
        log4j.write_bytes(packed)
    return f'-Dlog4j2.configurationFile={log4j.as_uri()} "-Dderby.system.home={scratch}"'


@contextlib.contextmanager
def _workers_run_this_python() -> Iterator[None]:
    """Have the session made inside run its workers on this interpreter, unless the user named another.

    Spark's default is the ``python3`` that PATH has, which in a venv started by its path is another Python without
    our packages. The context reads the variable once, when it is made; no conf says the same to a running Python.
    """
    if "PYSPARK_PYTHON" in os.environ:
        yield
        return
    os.environ["PYSPARK_PYTHON"] = sys.executable
    try:
        yield
    finally:
        del os.environ["PYSPARK_PYTHON"]


@functools.cache
def _scratch_dir() -> Path:
    """Make the directory of this process that goes when it ends."""
    made = Path(tempfile.mkdtemp(prefix="promptmill-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


# --- what executors import --------------------------------------------------------------------------------------------


def _archive_of(package: ModuleType) -> Path:
    """Zip the package's ``.py`` files and return where the zip is: same files, same bytes, same name.

    The name carries the hash, because Spark refuses a second file of one name and other content: a session that
    outlives an edit of the package (a notebook) gets the new one beside the old. The file stays until the process
    ends: classic executors fetch it whenever they start.
    """
    if package.__file__ is None:
        raise ValueError(f"{package.__name__} has no __init__.py, so it can't be shipped to executors")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sorted(_sources(package)):
            # ZipInfo's own date is 1980, the same on every machine; writing the file by path would put its mtime in.
            archive.writestr(zipfile.ZipInfo(name), source, zipfile.ZIP_DEFLATED)
    content = packed.getvalue()
    archive_path = _scratch_dir() / f"{package.__name__}-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    if not archive_path.exists():
        archive_path.write_bytes(content)
    return archive_path


def _sources(package: ModuleType) -> Iterator[tuple[str, bytes]]:
    """Yield the name in the archive and the content of each ``.py`` file of a package, or of a module of one file.

    It does not ask the file system, because promptmill may itself have come in a zip (``spark-submit --py-files``).
    """
    if hasattr(package, "__path__"):
        yield from _sources_below(files(package), package.__name__)
    else:
        where = Path(str(package.__file__))
        loader: Any = package.__loader__
        yield where.name, loader.get_data(str(where))


def _sources_below(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _sources_below(entry, f"{name}/{entry.name}")
        elif entry.name.endswith(".py"):
            yield f"{name}/{entry.name}", entry.read_bytes()
