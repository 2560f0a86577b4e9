"""A run against a workspace: executors renew their tokens, and nothing that it leaves holds a secret."""

import json

import planted_world as world
import pytest
from canaries import command, leaks, written
from workspace import CLIENT_ID, CLIENT_SECRET, PAT, TOKEN_MARK, ApiError, ServedEndpoint, Workspace

SCOPE_SECRET = "dapi-canary-of-a-scope-fedcba987"  # noqa: S105 - nobody's
SECRETS = (PAT, CLIENT_SECRET, TOKEN_MARK, SCOPE_SECRET)
ROWS = 60


def verdict(_):
    return json.dumps({"rationale": "scripted", "verdict": "same"})


def workspace_of(**settings):
    """A target, a reflection model and a judge, whose tokens live for so long that each worker needs several."""
    endpoints = ServedEndpoint("small", world.target), ServedEndpoint("big", world.reflection)
    workspace = Workspace(*endpoints, ServedEndpoint("judge", verdict), life_s=2.0, **settings)
    workspace.identity.pats.add(SCOPE_SECRET)
    workspace.secrets.values["keys", "big"] = SCOPE_SECRET
    return workspace


def run(workspace, folder, *arguments):
    """Run a command: the target as a service principal, reflection by a scope's secret, the judge by a PAT."""
    extra = (
        "scorers: [exact_match, {judge: equivalence}]\n"
        "      scorer_model: {name: judge, provider: databricks, api_key: {env: JUDGE_KEY}}\n"
    )
    text = world.config_text(folder, target_url="HERE", reflection_url="THERE", rows=ROWS, extra=extra)
    text = text.replace("provider: openai, base_url: HERE", "provider: databricks")
    text = text.replace("provider: openai, base_url: THERE", "api_key: {scope: keys, secret: big}")
    config = written(folder, text)
    environ = {"DATABRICKS_HOST": workspace.host, "DATABRICKS_CLIENT_ID": CLIENT_ID, "JUDGE_KEY": PAT}
    environ |= {"DATABRICKS_CLIENT_SECRET": CLIENT_SECRET}
    return command(folder, *arguments, "--config", config, environ=environ)


def tokens_of(requests, name):
    """Return the tokens that calls of an endpoint carried."""
    path = f"/serving-endpoints/{name}/invocations"
    return {request.headers["authorization"].removeprefix("Bearer ") for request in requests if request.path == path}


@pytest.mark.slow_cluster
def test_nothing_that_a_promotion_leaves_holds_a_secret(tmp_path):
    """Ledger, run directory, MLflow, Spark's event log with its plans, and every log line of two commands."""
    with workspace_of() as workspace:
        done = run(workspace, tmp_path, "optimize", "--run-dir", str(tmp_path / "run"))
        evaluated = run(workspace, tmp_path, "evaluate", "--run-dir", str(tmp_path / "evaluated"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "promoted"
    renewed = tokens_of(workspace.requests, "small")
    assert len(renewed) > 2
    assert all(token.startswith(TOKEN_MARK) for token in renewed)
    assert (tokens_of(workspace.requests, "big"), tokens_of(workspace.requests, "judge")) == ({SCOPE_SECRET}, {PAT})
    events = "".join(path.read_text() for path in (tmp_path / "events").rglob("*") if path.is_file())
    assert "ArrowEvalPython [evaluate_items" in events  # the plans of the UDF that holds the credentials
    assert list((tmp_path / "store").rglob("*.parquet"))
    assert (tmp_path / "mlflow.db").exists()
    assert leaks(tmp_path, done, SECRETS) == leaks(tmp_path, evaluated, SECRETS) == []


@pytest.mark.slow_cluster
@pytest.mark.parametrize("status", [403, 500])
def test_nothing_that_a_failed_run_leaves_holds_a_secret(tmp_path, status):
    """The gateway repeats the header of what it refuses, and the run ends with that error, masked."""

    def hook(request):
        if request.path.endswith("/invocations"):
            raise ApiError(status, "PERMISSION_DENIED", f"bad header {request.headers['authorization']}")

    with workspace_of(hook=hook) as workspace:
        done = run(workspace, tmp_path, "optimize", "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 1, done.stderr[-3000:]
    assert "bad header Bearer ***" in done.stderr
    assert leaks(tmp_path, done, SECRETS) == []
