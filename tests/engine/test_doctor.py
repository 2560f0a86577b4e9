"""Findings over a real endpoint, a real MLflow store and what is on this machine."""

import asyncio
import importlib.util
import os
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import planted_world as world
import pytest
from token_world import CLIENT_ID, CLIENT_SECRET, TokenWorld
from workspace import CLIENT_ID as WORKSPACE_CLIENT
from workspace import CLIENT_SECRET as WORKSPACE_SECRET
from workspace import PAT, ServedEndpoint, Workspace

from engine import doctor
from engine.config import AppConfig
from engine.doctor import diagnose
from engine.scripted_endpoint import ScriptedEndpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")


@contextmanager
def server(status, body=b"{}"):
    """Answer every GET with one status, and keep what was asked with which header."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1", asked
    finally:
        listening.shutdown()
        listening.server_close()


def configured(tmp_path, target_url="http://127.0.0.1:9/v1", reflection_url="http://127.0.0.1:9/v1", *replacements):
    text = world.config_text(tmp_path, target_url=target_url, reflection_url=reflection_url, rows=3)
    for old, new in replacements:
        assert re.search(old, text), old
        text = re.sub(old, new, text)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return AppConfig.from_file(path)


def found(config):
    return {finding.what: finding for finding in diagnose(config)}


def test_machine_that_runs_this_suite_is_found_fit():
    """Without a configuration the machine alone is looked at, and every complaint says how to mend it."""
    findings = {finding.what: finding for finding in diagnose()}
    for what in ("Python", "Java", "pyspark", "pandas", "pyarrow", "mlflow", "storage"):
        assert findings[what].status == "ok", findings[what]
    assert findings["Java"].detail.startswith("Java ")
    assert all(finding.mend for finding in findings.values() if finding.status != "ok")


def test_versions_are_those_that_setup_py_asks_for():
    """What the doctor calls right is what pip would have installed."""
    text = (Path(__file__).parents[2] / "setup.py").read_text()
    for name, (wanted, _) in doctor._VERSIONS.items():
        assert re.search(rf'"{name}(\[\w+\])?{re.escape(wanted)}"', text), name
    assert f'python_requires=">={".".join(map(str, doctor._PYTHON))}"' in text


def test_endpoint_is_asked_for_its_models_and_nothing_is_paid(tmp_path, monkeypatch):
    """A live endpoint is ok; a model that it doesn't list is a warning; no chat call is made."""
    with ScriptedEndpoint(world.target) as target:
        config = configured(tmp_path, target.base_url, target.base_url, ("name: big,", "name: scripted,"))
        findings = found(config)
    assert target.calls == []
    assert findings["endpoint scripted"].status == "ok"
    assert findings["endpoint small"].status == "warning"
    assert "lists no 'small', but: scripted" in findings["endpoint small"].detail


def test_refused_key_is_told_without_the_key(tmp_path, monkeypatch):
    """401 is a finding about the credentials that names the variable; the key itself stands nowhere."""
    monkeypatch.setenv("SMALL_KEY", "hunter2\n")
    with server(401) as (url, asked):
        config = configured(tmp_path, url, url, ("name: small,", "name: small, api_key: {env: SMALL_KEY},"))
        findings = found(config)
    assert findings["endpoint small"].status == "missing"
    assert "refuses the key in SMALL_KEY (401)" in findings["endpoint small"].detail
    assert "refuses a call without a key" in findings["endpoint big"].detail
    assert ("/v1/models", "Bearer hunter2") in asked
    assert "hunter2" not in repr(list(findings.values()))


def test_token_of_an_oauth_server_is_asked_for_and_tried(tmp_path, monkeypatch):
    """A live client is ok; a refused one is told with the server's reason, and its secret stands nowhere."""
    monkeypatch.setenv("GOOD_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("BAD_SECRET", f"{CLIENT_SECRET}-bad")
    with TokenWorld() as tokens:

        def by(secret):
            client = f"token_url: '{tokens.token_url}', client_id: {CLIENT_ID}, client_secret: {{env: {secret}}}"
            return f"name: m, api_key: {{oauth: {{{client}}}}},"

        replacements = (
            ("name: small,", by("GOOD_SECRET")),
            ("name: big,", by("BAD_SECRET").replace("name: m", "name: n")),
        )
        findings = found(configured(tmp_path, tokens.base_url, tokens.base_url, *replacements))
    assert findings["endpoint m"].status == "ok"
    assert f"a token of {tokens.token_url} for the client 'mill' is taken" in findings["endpoint m"].detail
    assert findings["endpoint n"].status == "missing"
    assert "refuses the client 'mill': 401 (invalid_client" in findings["endpoint n"].detail
    assert CLIENT_SECRET not in repr(list(findings.values()))
    assert "canary-token" not in repr(list(findings.values()))


def test_key_file_is_read_and_tried(tmp_path):
    """Its path is told, and where it can't be read, on which machine."""
    key = tmp_path / "key"
    with server(200) as (url, asked):
        config = configured(tmp_path, url, url, ("name: small,", f"name: small, api_key: {{file: {key}}},"))
        assert f"the key file {key} can't be used on" in found(config)["endpoint small"].detail
        key.write_text("hunter2\n")
        assert f"the key in the file {key} is taken" in found(config)["endpoint small"].detail
    assert ("/v1/models", "Bearer hunter2") in asked


def test_key_that_no_header_can_hold_is_not_repeated(tmp_path, monkeypatch):
    """Whatever the HTTP client says of a broken key, the key is not in it."""
    monkeypatch.setenv("SMALL_KEY", "hun\nter2")
    with server(200) as (url, _):
        findings = found(configured(tmp_path, url, url, ("name: small,", "name: small, api_key: {env: SMALL_KEY},")))
    assert findings["endpoint small"].status == "missing"
    assert "ter2" not in repr(list(findings.values()))


def test_key_that_is_not_set_is_told(tmp_path, monkeypatch):
    """A variable that is not set is named, and the endpoint is not asked."""
    monkeypatch.delenv("SMALL_KEY", raising=False)
    with server(200) as (url, asked):
        findings = found(configured(tmp_path, url, url, ("name: small,", "name: small, api_key: {env: SMALL_KEY},")))
    assert findings["endpoint small"].detail == "the environment variable SMALL_KEY is not set"
    assert len(asked) == 1


@pytest.mark.parametrize(("status", "expected"), [(200, "ok"), (302, "warning"), (404, "warning"), (503, "warning")])
def test_other_answers_are_no_more_than_warnings(tmp_path, status, expected):
    """An endpoint without a list of models may still serve, so only refusal and silence are called missing."""
    with server(status) as (url, _):
        assert found(configured(tmp_path, url, url))["endpoint small"].status == expected


def test_endpoint_that_is_not_there_is_told(tmp_path):
    """Nobody listens: missing, with the address, without the password that stands in it."""
    config = configured(tmp_path, "http://me:hunter2@127.0.0.1:9/v1")
    finding = found(config)["endpoint small"]
    assert finding.status == "missing"
    assert "127.0.0.1:9/v1/models can't be reached" in finding.detail
    assert "hunter2" not in repr(finding)


def test_store_that_is_not_there_yet_is_not_made(tmp_path):
    """Looking leaves no trace: a SQLite store that would be made is ok, and is still not there after."""
    before = mlflow.get_tracking_uri()
    findings = found(
        configured(tmp_path, "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", (r"dataset: .*", "dataset_name: d"))
    )
    assert findings["MLflow"].detail.endswith("will be made")
    assert findings["prompt of migrate_shout"].status == "ok"
    assert findings["dataset of migrate_shout"].status == "missing"
    assert "promptmill collect" in findings["dataset of migrate_shout"].mend
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert mlflow.get_tracking_uri() == before


@pytest.mark.parametrize(
    ("dataset", "status", "detail"),
    [
        ("dataset_name: there", "ok", "evaluation data set there"),
        ("dataset_name: lost", "missing", "lost"),
        ("dataset: {table: main.a.b}", "ok", "when Spark runs"),
        ("dataset: {path: /nowhere/x.parquet}", "missing", "is not there"),
        ("dataset: {path: '/data/*.parquet'}", "ok", "when Spark runs"),
        ("dataset: {traces: {experiment: known}}", "ok", "traces of known"),
        ("dataset: {traces: {experiment: unknown}}", "missing", "no experiment 'unknown'"),
        ("dataset: {traces: {run_id: abc}}", "missing", "abc"),
        ("dataset: {data: [{inputs: {word: a}}]}", "ok", "1 records"),
    ],
)
def test_data_set_is_looked_for(store, tmp_path, dataset, status, detail):
    """Names are looked up in MLflow, local paths on the disk; tables are left to Spark."""
    config = configured(
        tmp_path, "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", (r"dataset: .*", dataset), (r"sqlite:[^\"]*", store)
    )
    finding = found(config)["dataset of migrate_shout"]
    assert finding.status == status
    assert detail in finding.detail


def test_prompt_is_loaded_from_the_registry(store, tmp_path):
    """A registered prompt is shown with its variables; one that is not there is missing."""
    template = (r', default_template: "[^"]*"', "")
    places = ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1")
    known = configured(tmp_path, *places, template, ("name: shout}", "name: known}"), (r"sqlite:[^\"]*", store))
    finding = found(known)["prompt of migrate_shout"]
    assert (finding.status, finding.detail) == ("ok", "known with {{text}}")
    unknown = configured(tmp_path, *places, template, (r"sqlite:[^\"]*", store))
    assert found(unknown)["prompt of migrate_shout"].status == "missing"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("known")
    mlflow.genai.datasets.create_dataset(name="there")
    mlflow.genai.register_prompt(name="known", template="Say {{text}}")
    mlflow.set_tracking_uri(before)
    return uri


def test_mlflow_server_that_is_down_is_told_within_seconds(tmp_path):
    """A dead server is missing, and neither its data sets nor its prompts are waited for; its password is masked."""
    config = configured(
        tmp_path,
        "http://127.0.0.1:9/v1",
        "http://127.0.0.1:9/v1",
        (r"sqlite:[^\"]*", "http://me:hunter2@127.0.0.1:9"),
        (r"dataset: .*", "dataset_name: d"),
    )
    findings = found(config)
    assert findings["MLflow"].status == findings["dataset of migrate_shout"].status == "missing"
    assert "hunter2" not in repr(list(findings.values()))


def test_folder_of_files_is_no_store_for_this(tmp_path):
    """MLflow's file store has neither prompts nor data sets, which is said before a run finds out."""
    config = configured(
        tmp_path, "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", (r"sqlite:[^\"]*", f"{tmp_path}/mlruns")
    )
    assert found(config)["MLflow"].status == "missing"


def test_spark_connect_server_is_looked_for_and_needs_no_java_here(tmp_path):
    """With spark.remote the server's port is tried, and Java is the server's business."""
    config = configured(tmp_path)
    remote = config.model_copy(update={"spark": config.spark.model_copy(update={"remote": "sc://127.0.0.1:9"})})
    findings = found(remote)
    assert findings["Java"].status == "ok"
    assert findings["Spark"].status == "missing"


def test_what_breaks_a_check_is_a_finding(monkeypatch):
    """A check that raises becomes a warning with its reason, and the others are still there."""
    monkeypatch.setattr(doctor, "_extras", lambda: (_ for _ in ()).throw(RuntimeError("at http://me:hunter2@x")))
    findings = {finding.what: finding for finding in diagnose()}
    assert findings["extras"].status == "warning"
    assert findings["extras"].detail == "could not be looked at: RuntimeError: at http://***@x"
    assert findings["Python"].status == "ok"


def test_missing_and_foreign_versions_are_told(monkeypatch):
    """A package that is not there is missing; one outside the range is a warning."""
    monkeypatch.setitem(doctor._VERSIONS, "nosuchpackage", (">=1", "pip install it"))
    monkeypatch.setitem(doctor._VERSIONS, "pandas", (">=99", "pip install it"))
    findings = {finding.what: finding for finding in diagnose()}
    assert (findings["nosuchpackage"].status, findings["pandas"].status) == ("missing", "warning")


def test_java_that_cannot_be_used_is_told(monkeypatch):
    """JAVA_HOME that leads nowhere is missing, with what the finder says of it."""
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert next(f for f in diagnose() if f.what == "Java").status == "missing"


def test_it_runs_inside_a_running_event_loop(tmp_path):
    """A notebook's driver has a loop of its own; the checks don't mind."""

    async def in_a_notebook():
        return found(configured(tmp_path))

    assert asyncio.run(in_a_notebook())["endpoint small"].status == "missing"


def test_extras_are_warnings_only(monkeypatch):
    """Without the extras nothing is missing for a migration."""
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in {"xllamacpp", "chatterbot_corpus"} else there(name)
    )
    findings = {finding.what: finding for finding in diagnose()}
    assert findings["local model"].status == findings["quickstart data"].status == "warning"


def serving(tmp_path):
    return configured(tmp_path, "HERE", "HERE", ("provider: openai, base_url: HERE", "provider: databricks"))


def test_a_serving_endpoint_is_told_with_its_login_task_and_limits(tmp_path, monkeypatch):
    """Who asks (never the secret), whether it is ready, what it speaks and lets through; nothing is invoked."""
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nowhere")
    limits = [{"calls": 60, "tokens": 9000, "renewal_period": "minute", "key": "endpoint"}]
    small = ServedEndpoint("small", rate_limits=limits, cold_s=60.0, entity={"foundation_model": {}})
    with Workspace(small, ServedEndpoint("big", ready=False, task="agent/v1/responses")) as workspace:
        by_client = {"DATABRICKS_CLIENT_ID": WORKSPACE_CLIENT, "DATABRICKS_CLIENT_SECRET": WORKSPACE_SECRET}
        with workspace.environment(**by_client):
            findings = found(serving(tmp_path))
        assert not any("/invocations" in path for path in workspace.paths())
    assert findings["endpoint small"].status == "ok"
    assert findings["endpoint small"].detail == (
        "ready, task llm/v1/chat, pay-per-token, at most 60 calls a minute, at most 9,000 tokens a minute, "
        f"scaled to zero (the first calls wait) at {workspace.host}; auth: oauth-m2m"
    )
    assert findings["endpoint big"].status == "warning"
    assert findings["endpoint big"].detail.startswith("not ready, task agent/v1/responses")
    assert WORKSPACE_SECRET not in repr(findings)


@pytest.mark.parametrize(
    ("endpoint", "token", "said", "mend"),
    [
        (ServedEndpoint("other"), PAT, "Endpoint with name 'small' does not exist", "the endpoint's name"),
        (ServedEndpoint("small"), "dapi-wrong", "answers 403: Invalid access token.", "the login"),
        (
            ServedEndpoint("small", task="llm/v1/embeddings"),
            PAT,
            "has the task 'llm/v1/embeddings'",
            "answers with text",
        ),
        (ServedEndpoint("small"), "", "databricks-sdk finds no login", "DATABRICKS_CLIENT_ID"),
    ],
)
def test_a_serving_endpoint_that_can_not_be_used_is_told_with_its_mend(
    tmp_path, monkeypatch, endpoint, token, said, mend
):
    """No such endpoint, a token that is none, a task without a text, no login at all."""
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nowhere")
    with Workspace(endpoint) as workspace, workspace.environment(DATABRICKS_TOKEN=token):
        finding = found(serving(tmp_path))["endpoint small"]
    assert finding.status == "missing"
    assert said in finding.detail
    assert mend in finding.mend
    assert not token or token not in repr(finding)
