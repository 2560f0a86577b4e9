"""The session and what travels to its workers, on whichever Spark this run stands on."""

import contextlib
import importlib
import socket
import sys
import threading
import zipfile
from pathlib import Path

import pyspark
import pytest

from engine.errors import InputError
from engine.session import (
    SparkSettings,
    SparkUnavailable,
    _archive_of,
    _check_reachable,
    _own_conf,
    _without_parameters,
    parallelism,
    ship_package,
    spark_session,
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package that only this process can import, and import it."""
    name = f"shipped_{abs(hash(tmp_path))}"
    (tmp_path / name / "inner").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "data.csv").write_text("stays")
    (tmp_path / name / "inner" / "__init__.py").write_text("")
    (tmp_path / name / "inner" / "plus.py").write_text("def plus_one(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def test_a_running_session_comes_back_untouched(spark):
    """Settings for another Spark change nothing where a session exists."""
    before = spark.conf.get("spark.sql.shuffle.partitions")
    settings = SparkSettings(master="local[7]", app_name="other", conf={"spark.sql.shuffle.partitions": "77"})
    assert spark_session(settings) is spark
    assert spark.conf.get("spark.sql.shuffle.partitions") == before


def test_another_thread_gets_the_same_session(spark):
    """A thread of its own has no active session in Spark's eyes, and still gets this one."""
    got = []
    thread = threading.Thread(target=lambda: got.append(spark_session()))
    thread.start()
    thread.join()
    assert got == [spark]


def test_parallelism_counts_the_slots(spark):
    """Each of the three test clusters has two slots, seen with and without asking again."""
    assert parallelism(spark) == 2
    assert parallelism(spark, fresh=True) == 2


def test_a_shipped_package_is_imported_by_the_workers(spark, package):
    """A UDF imports a package that the workers' own path doesn't have, in every partition; twice shipped is once."""
    name = package.__name__

    def body(batches):
        plus = importlib.import_module(f"{name}.inner.plus")
        for batch in batches:
            yield batch.assign(id=batch["id"].map(plus.plus_one), file=plus.__file__)

    ship_package(spark, package)
    ship_package(spark, package)
    rows = spark.range(0, 100, 1, 4).mapInPandas(body, "id long, file string").collect()
    assert sorted(row.id for row in rows) == list(range(1, 101))
    assert all(f"{name}-" in row.file and ".zip" in row.file for row in rows)


def test_an_edited_package_replaces_what_was_shipped(spark, package):
    """The same session takes the package again when a file of it changed."""
    source = Path(package.__file__).parent / "inner" / "plus.py"
    ship_package(spark, package)
    source.write_text("def plus_one(x):\n    return x + 2\n")
    ship_package(spark, package)


def test_an_archive_is_the_same_bytes_and_holds_sources_only(package):
    """Dates and order of the files leave no mark; data and caches stay behind."""
    first = _archive_of(package)
    content = first.read_bytes()
    first.unlink()
    for source in Path(package.__file__).parent.rglob("*.py"):
        source.touch()
    assert _archive_of(package) == first
    assert first.read_bytes() == content
    name = package.__name__
    assert zipfile.ZipFile(first).namelist() == [
        f"{name}/__init__.py",
        f"{name}/inner/__init__.py",
        f"{name}/inner/plus.py",
    ]


def test_a_package_that_came_in_a_zip_is_shipped_all_the_same(package, tmp_path, monkeypatch):
    """What spark-submit --py-files brings is the same archive as what the checkout brings."""
    from_folder = _archive_of(package).read_bytes()
    name, folder = package.__name__, Path(package.__file__).parent
    zipped = tmp_path / "brought.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, str(path.relative_to(tmp_path)))
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]
    monkeypatch.setattr(sys, "path", [str(zipped)])
    importlib.invalidate_caches()
    again = importlib.import_module(name)
    assert str(zipped) in again.__file__
    assert _archive_of(again).read_bytes() == from_folder


def test_a_package_without_a_file_is_refused(tmp_path, monkeypatch):
    """A namespace package has no one folder to zip."""
    (tmp_path / "spacename").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="spacename"):
        _archive_of(importlib.import_module("spacename"))


def test_a_remote_nobody_listens_on_fails_at_once():
    """The error names the address without its token, and comes without Spark's ten minutes of retries."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        port = taken.getsockname()[1]
        with pytest.raises(SparkUnavailable) as caught:
            _check_reachable(f"sc://127.0.0.1:{port}/;token=secret")
    assert f"sc://127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_remote_that_listens_is_reachable():
    """A port that accepts is all that is asked."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        _check_reachable(f"sc://127.0.0.1:{server.getsockname()[1]}/;use_ssl=true")


def test_a_token_never_gets_into_a_message():
    """Parameters of the address are dropped, whatever they are."""
    assert _without_parameters("sc://host:443/;token=secret;x-id=1") == "sc://host:443"


def test_a_master_in_the_place_of_a_remote_is_refused():
    """The error says which key the address belongs to."""
    with pytest.raises(InputError, match=r"spark\.master"):
        SparkSettings(remote="spark://host:7077")


def test_a_cluster_keeps_its_own_sizes(tmp_path):
    """What is tuned for one machine is only set on one machine."""
    local = _own_conf("local[4]", tmp_path)
    assert local["spark.sql.shuffle.partitions"] == "4"
    assert "spark.driver.memory" in local
    cluster = _own_conf("spark://host:7077", tmp_path)
    assert not {"spark.sql.shuffle.partitions", "spark.driver.memory", "spark.driver.host"} & set(cluster)


def test_the_log_settings_are_shipped_beside_the_code(tmp_path):
    """The file that keeps the console quiet is where the JVM is told to read it."""
    said = _own_conf("local[1]", tmp_path)["spark.driver.extraJavaOptions"]
    assert "log4j2.properties" in said
    assert (Path(sys.modules["engine.session"].__file__).with_name("log4j2.properties")).is_file()


@pytest.mark.skipif(pyspark.__version__ < "4", reason="classic 3.5 ships through its context")
def test_classic_spark_ships_without_its_context(package):
    """From Spark 4 on, shipping calls addArtifacts and nothing else of the session."""
    calls = []

    class Session:
        def addArtifacts(self, *paths, pyfile):  # noqa: N802  -- Spark's name
            calls.append((paths, pyfile))

    ship_package(Session(), package)
    assert calls == [((str(_archive_of(package)),), True)]
