"""What a configuration names, looked at from here: Spark's server, endpoints, prompts and data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.finding import TIMEOUT_S, Check, Finding, Status, checked
from engine.reachability import Probe, key_header, probe, probe_port
from engine.serving.description import Undescribed, describe
from engine.serving.handover import located
from engine.serving.login import log_in
from udfs.endpoint import Endpoint
from udfs.errors import CallError, InputError
from udfs.keys import LentToken, WorkspaceLogin
from udfs.protocols import protocol_of

if TYPE_CHECKING:
    from engine.config import AppConfig, DatasetModel, LLMModel, PromptOptimizationModel, TracesModel


def checks_of(config: AppConfig) -> list[Check]:
    """Return the checks of what the configuration names.

    Endpoints are asked for their list of models, which costs no token and shows whether the key is taken.
    """
    checks: list[Check] = [("Spark", lambda: _spark(config)), ("endpoints", lambda: _endpoints(config))]
    checks += [
        (f"optimization {name}", lambda settings=settings: _optimization(config, settings))  # type: ignore[misc]
        for name, settings in config.optimizations.prompt_optimizations.items()
    ]
    return checks


def _spark(config: AppConfig) -> Iterator[Finding]:
    if not config.spark.remote:
        yield Finding("Spark", "ok", f"master {config.spark.master}, where no session exists yet")
        return
    answer = probe_port(config.spark.remote, default_port=15002, timeout_s=TIMEOUT_S)
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
        yield from checked(f"endpoint {model.name}", lambda model=model: [_endpoint(model)])  # type: ignore[misc]


def _endpoint(model: LLMModel) -> Finding:
    what = f"endpoint {model.name}"
    endpoint = model.endpoint()
    if endpoint.provider == "databricks":
        return _serving(what, endpoint)
    key = endpoint.api_key
    origin = key.origin if key else ""
    try:
        header = key_header(located(endpoint))
    except InputError as error:
        detail, _, mend = str(error).partition("; ")
        return Finding(what, "missing", detail, mend)
    except CallError as error:
        return Finding(what, "missing", error.message, f"check {origin}")
    url = f"{endpoint.base_url.rstrip('/')}/models"
    return _judge(what, model, url, origin, probe(url, header=header, timeout_s=TIMEOUT_S))


def _serving(what: str, endpoint: Endpoint) -> Finding:
    """Look at a serving endpoint of Databricks: who asks, and what the workspace tells."""
    auth = ""
    try:
        if isinstance(endpoint.api_key, WorkspaceLogin):
            login = log_in(endpoint.base_url)
            auth = login.auth_type
            endpoint = replace(endpoint, base_url=login.host, api_key=login.key)
        else:
            auth = endpoint.api_key.origin if endpoint.api_key else "no key"
            endpoint = located(endpoint)
        told = describe(endpoint)
        protocol_of(endpoint if isinstance(told, Undescribed) or endpoint.task else replace(endpoint, task=told.task))
    except InputError as error:
        detail, _, mend = str(error).partition("; ")
        return Finding(what, "missing", f"{detail} (auth: {auth})" if auth else detail, mend)
    by = f"auth: {auth}{_lifetime(endpoint)}"
    if isinstance(told, Undescribed):
        status: Status = "missing" if told.is_final else "warning"
        return Finding(what, status, f"{told.reason} ({by})", "check the endpoint's name, the workspace and the login")
    words = f"{told.words()} at {endpoint.base_url}; {by}"
    if told.is_ready:
        return Finding(what, "ok", words)
    return Finding(what, "warning", words, "wait for its update to end, or look at its events in the workspace")


def _lifetime(endpoint: Endpoint) -> str:
    key = endpoint.api_key
    if not isinstance(key, LentToken):
        return ""
    if key.ends_at is None:
        return ", a token that tasks can't renew"
    return f", a token that tasks can't renew and that ends at {datetime.fromtimestamp(key.ends_at, UTC):%H:%M} UTC"


def _judge(what: str, model: LLMModel, url: str, origin: str, answer: Probe) -> Finding:
    if answer.status is None:
        mend = "check base_url, and that the endpoint runs"
        return Finding(what, "missing", f"{url} can't be reached: {answer.said}", mend)
    if answer.status in {401, 403}:
        mend = f"check {origin}" if origin else "give it one: api_key: {env: NAME}"
        return Finding(what, "missing", f"{url} refuses {origin or 'a call without a key'} ({answer.status})", mend)
    if answer.status != 200:
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
        asked = probe(f"{uri.rstrip('/')}/health", timeout_s=TIMEOUT_S).status is not None
    try:
        if uri and asked:
            mlflow.set_tracking_uri(uri)
        for name, check in (("prompt", _prompt), ("dataset", _dataset)):
            what = f"{name} of {settings.name}"
            yield from checked(what, lambda what=what, check=check: [check(what, settings, asked)])  # type: ignore[misc]
    finally:
        mlflow.set_tracking_uri(before)


def _prompt(what: str, settings: PromptOptimizationModel, asked: bool) -> Finding:
    mend = "give prompts.*.default_template, or mend name, alias or version"
    names = ", ".join(prompt.full_name for prompt in settings.prompts)
    if not asked and any(prompt.default_template is None for prompt in settings.prompts):
        return Finding(what, "missing", f"{names}: no MLflow store is there to load it from", mend)
    from engine.migration import seed_prompt

    try:
        prompt = seed_prompt(settings, needs_variables=settings.predict_fn is None)
    except InputError as error:
        return Finding(what, "missing", str(error), mend)
    variables = ", ".join(f"{{{{{name}}}}}" for name in sorted(prompt.variables))
    return Finding(what, "ok", f"{names} with {variables or 'no variable'}")


def _dataset(what: str, settings: PromptOptimizationModel, asked: bool) -> Finding:
    return _outside_mlflow(what, settings.dataset) or _in_mlflow(what, settings.dataset, asked)


def _outside_mlflow(what: str, dataset: DatasetModel) -> Finding | None:
    if dataset.data is not None:
        return Finding(what, "ok", f"{len(dataset.data)} records in the configuration")
    traced = dataset.trace_table or dataset.inference_table
    table = traced.name if traced else dataset.table
    if table:
        return Finding(what, "ok", f"table {table}; it is looked at when Spark runs")
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
