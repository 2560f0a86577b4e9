"""Real Sparks for tests: one process, several processes, a standalone cluster, and Spark Connect.

A process has one JVM and one session for its life, and is either classic or Connect. So which Spark a test run uses is
said before it starts, by ``PROMPTMILL_TEST_CLUSTER`` (see ``tests/conftest.py``), and ``run_on`` starts a run, or a
script, on another Spark in a process of its own::

    run_on("local-cluster[2,1,1024]", ["tests/engine/test_session.py"])
    run_on("connect", ["some_script.py", "argument"])
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pyspark.find_spark_home import _find_spark_home
from pyspark.sql import SparkSession

from engine.java import prepare_java
from engine.session import SparkSettings, spark_session

CLUSTER_VARIABLE = "PROMPTMILL_TEST_CLUSTER"
DEFAULT_CLUSTER = "local[2]"

ROOT = Path(__file__).resolve().parent.parent

# Small, because two test runs may share a machine of 8 GB.
_TEST_CONF = {"spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "2"}


@contextlib.contextmanager
def session_on(cluster: str) -> Iterator[SparkSession]:
    """Give a session on ``local[N]``, ``local-cluster[…]``, ``standalone`` or ``connect``; stop it after."""
    if cluster == "connect":
        with connect_server() as spark:
            yield spark
    elif cluster == "standalone":
        with standalone_cluster() as master, standalone_session(master) as spark:
            yield spark
    elif several := re.fullmatch(r"local-cluster\[(\d+),\s*(\d+),\s*(\d+)\]", cluster):
        with local_cluster(*(int(number) for number in several.groups())) as spark:
            yield spark
    elif one := re.fullmatch(r"local\[(\d+)\]", cluster):
        with classic_local(int(one[1])) as spark:
            yield spark
    else:
        raise ValueError(
            f"{CLUSTER_VARIABLE}={cluster!r}: say local[2], local-cluster[2,1,1024], standalone or connect"
        )


@contextlib.contextmanager
def classic_local(n: int) -> Iterator[SparkSession]:
    """Give a session of one process with ``n`` task slots."""
    spark = spark_session(SparkSettings(master=f"local[{n}]", conf=_TEST_CONF))
    try:
        yield spark
    finally:
        spark.stop()


@contextlib.contextmanager
def local_cluster(workers: int, cores: int, memory_mb: int) -> Iterator[SparkSession]:
    """Give a session whose executors are ``workers`` JVMs of their own, as on a cluster."""
    master = f"local-cluster[{workers},{cores},{memory_mb}]"
    conf = _TEST_CONF | {"spark.executor.memory": f"{memory_mb}m", "spark.ui.enabled": "false"}
    with _spark_home() as home, _environment({"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}):
        spark = spark_session(SparkSettings(master=master, conf=conf))
        try:
            yield spark
        finally:
            spark.stop()


class Standalone:
    """A standalone cluster of this machine: a master, and workers that stand for hosts. Used by :func:`session_on`.

    ``running`` is the one of this process, if there is one.
    """

    running: "Standalone | None" = None

    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self._folder = home, folder
        self._processes: list[subprocess.Popen[bytes]] = []
        log = self._start("master", "org.apache.spark.deploy.master.Master")
        self.url = _find_in(log, self._processes[0], r"Starting Spark master at (spark://\S+)")

    def add_worker(self, *, cores: int = 1, memory_mb: int = 768) -> int:
        """Start a worker, wait until the master knows it, and return its process id."""
        cluster = ("--cores", str(cores), "--memory", f"{memory_mb}m", self.url)
        work = self._folder / f"work-{len(self._processes)}"
        log = self._start("worker", "org.apache.spark.deploy.worker.Worker", "--work-dir", str(work), *cluster)
        _find_in(log, self._processes[-1], r"(Successfully registered with master)")
        return self._processes[-1].pid

    def restore(self, workers: int = 2) -> None:
        """Start workers for those that were killed."""
        lacking = workers - sum(process.poll() is None for process in self._processes[1:])
        for _ in range(lacking):
            self.add_worker()

    def end(self) -> None:
        """End what still runs, workers first, so that they end their executors."""
        for process in reversed(self._processes):
            _end(process)

    def _start(self, name: str, main: str, *arguments: str) -> Path:
        log = self._folder / f"{name}-{len(self._processes)}.log"
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        # An address of its own for each, because Spark puts no copy of a task on the host that runs it already.
        host = f"127.0.0.{len(self._processes) + 1}"
        environ |= {"SPARK_HOME": str(self.home), "SPARK_LOCAL_IP": host, "SPARK_DAEMON_MEMORY": "256m"}
        environ |= {"PYSPARK_PYTHON": sys.executable}
        command = [str(self.home / "bin" / "spark-class"), main]
        command += ["--host", host, "--port", "0", "--webui-port", "0", *arguments]
        with log.open("w") as written:
            # A group of its own: what a test does to one host reaches nothing else.
            started = subprocess.Popen(
                command, env=environ, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._processes.append(started)
        return log


@contextlib.contextmanager
def standalone_cluster(workers: int = 2) -> Iterator[Standalone]:
    """Give a master with ``workers`` workers of one core each."""
    prepare_java()
    with (
        _spark_home() as home,
        tempfile.TemporaryDirectory(prefix="promptmill-standalone-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as stack,
    ):
        cluster = Standalone(home, Path(folder))
        stack.callback(cluster.end)
        for _ in range(workers):
            cluster.add_worker()
        Standalone.running = cluster
        try:
            yield cluster
        finally:
            Standalone.running = None


@contextlib.contextmanager
def standalone_session(cluster: Standalone) -> Iterator[SparkSession]:
    """Give a session on ``cluster``, with an executor of 512 MB on each worker."""
    conf = _TEST_CONF | {"spark.executor.memory": "512m", "spark.ui.enabled": "false"}
    conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    spark = spark_session(SparkSettings(master=cluster.url, conf=conf))
    try:
        yield spark
    finally:
        spark.stop()


def _find_in(log: Path, process: subprocess.Popen[bytes], pattern: str, timeout_s: float = 90) -> str:
    """Wait until a process has written ``pattern`` into its log, and return the pattern's group."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(pattern, log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} has not come up:\n{log.read_text(errors='replace')[-4000:]}")


@contextlib.contextmanager
def connect_server(cores: int = 2) -> Iterator[SparkSession]:
    """Give a Connect session on a server that runs as a process of its own, with ``cores`` task slots."""
    with _connect_server(cores) as remote:
        spark = spark_session(SparkSettings(remote=remote))
        try:
            yield spark
        finally:
            spark.stop()
            os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # the builder's mark, which outlives its session


def run_on(
    cluster: str,
    module_or_script: Sequence[str],
    *,
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a script (first word ends in .py and is no test file) or a pytest selection on ``cluster``, and wait.

    Nothing it started is left, even when it has to be stopped at ``timeout_s`` (then ``TimeoutExpired`` is raised).
    """
    first = Path(module_or_script[0])
    is_script = first.suffix == ".py" and not first.name.startswith("test_")
    command = [sys.executable, *module_or_script] if is_script else [sys.executable, "-m", "pytest", *module_or_script]
    started = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(environ or {}), CLUSTER_VARIABLE: cluster},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, so that its JVMs can be ended with it and nothing else is
    )
    try:
        out, err = started.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        started.send_signal(signal.SIGINT)  # its context managers stop the server and remove their folders
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.communicate(timeout=30)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    return subprocess.CompletedProcess(command, started.returncode, out, err)


@contextlib.contextmanager
def _spark_home() -> Iterator[Path]:
    """Give a SPARK_HOME made of links to the installed one.

    A standalone worker writes its executors' folders under SPARK_HOME/work, which would be in site-packages.
    """
    with tempfile.TemporaryDirectory(prefix="promptmill-spark-home-", ignore_cleanup_errors=True) as made:
        for entry in Path(_find_spark_home()).iterdir():
            if entry.name != "work":
                (Path(made) / entry.name).symlink_to(entry)
        yield Path(made)


@contextlib.contextmanager
def _connect_server(cores: int) -> Iterator[str]:
    """Start Spark Connect on a free port of 127.0.0.1 and give its address.

    By spark-submit and not by sbin/start-connect-server.sh: that one forks, and leaves a pid file to find it by.
    """
    prepare_java()
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="promptmill-connect-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "server.log"
        conf = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.warehouse.dir": (Path(folder) / "warehouse").as_uri(),
            **_TEST_CONF,
        }
        command = [
            *(str(Path(_find_spark_home()) / "bin" / "spark-submit"), "--master", f"local[{cores}]"),
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
            *(word for key, value in conf.items() for word in ("--conf", f"{key}={value}")),
            "spark-internal",  # what spark-submit takes for "the class is in Spark's own jars"
        ]
        # The server's folder, not ours: its Python workers must not import from the checkout by accident.
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_CONNECT_MODE": "0"}
        with log.open("w") as written:
            server = subprocess.Popen(command, cwd=folder, env=environ, stdout=written, stderr=subprocess.STDOUT)
        try:
            _wait_for(server, port, log)
            yield f"sc://127.0.0.1:{port}"
        finally:
            _end(server)


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the Spark Connect server did not come up on port {port}:\n{log.read_text()[-4000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # spark-submit became the JVM by exec, so this is the JVM's pid
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
