"""Logins as databricks-sdk finds them, and what a task gets of each: asked of a workspace over real HTTP."""

import asyncio
import os
import pickle
import time
from dataclasses import replace

import aiohttp
import pytest
from databricks.sdk.core import Config
from databricks.sdk.environments import AzureEnvironment, Cloud, DatabricksEnvironment
from workspace import CLIENT_ID, CLIENT_SECRET, PAT, TOKEN_MARK, ServedEndpoint, Workspace

from engine.serving import located, log_in, ready, renewed
from engine.serving.login import key_of
from udfs.client import ChatClient
from udfs.credentials import LentKey
from udfs.endpoint import Endpoint, Limits
from udfs.errors import CallError, ErrorKind, InputError
from udfs.flow import flow_control
from udfs.keys import LentToken, OAuthClient, Secret, SecretFromEnv, SecretScope, WorkspaceLogin

ENDPOINT = Endpoint("m", "databricks", api_key=WorkspaceLogin(), limits=Limits(max_attempts=1))
FEDERATED = "canary-identity-token"
SECRETS = (PAT, CLIENT_SECRET, FEDERATED, TOKEN_MARK)


@pytest.fixture
def workspace():
    with Workspace(ServedEndpoint("m")) as running:
        running.identity.federated.add(FEDERATED)
        running.secrets.values["keys", "model"] = PAT
        running.secrets.values["keys", "client"] = CLIENT_SECRET
        yield running


def answered(endpoint, monkeypatch):
    """Ask as an executor does: from the pickled descriptor, with none of the driver's environment."""
    for name in list(os.environ):
        if name.startswith("DATABRICKS_"):
            monkeypatch.delenv(name)
    endpoint = pickle.loads(pickle.dumps(endpoint))  # noqa: S301 - our own

    async def ask():
        async with aiohttp.ClientSession() as session:
            flow = flow_control(("d", endpoint.base_url, "m"), endpoint.limits, tasks=1)
            return await ChatClient(endpoint, flow, session).ask([{"role": "user", "content": "hello"}])

    return asyncio.run(ask())


def logins(workspace, tmp_path):
    profile = f"[mill]\nhost = {workspace.host}\nclient_id = {CLIENT_ID}\nclient_secret = {CLIENT_SECRET}\n"
    (tmp_path / "databrickscfg").write_text(f"[DEFAULT]\nhost = {workspace.host}\ntoken = {PAT}\n{profile}")
    host = {"DATABRICKS_HOST": workspace.host}
    client = {"DATABRICKS_CLIENT_ID": CLIENT_ID, "DATABRICKS_CLIENT_SECRET": CLIENT_SECRET}
    return {
        "environment": (host | {"DATABRICKS_TOKEN": PAT}, "pat", Secret),
        "default profile": ({}, "pat", Secret),
        "profile": ({"DATABRICKS_CONFIG_PROFILE": "mill"}, "oauth-m2m", OAuthClient),
        "client": (host | client, "oauth-m2m", OAuthClient),
        "federated": (host | {"DATABRICKS_OIDC_TOKEN": FEDERATED, **_CLIENT}, "env-oidc", LentToken),
    }


_CLIENT = {"DATABRICKS_CLIENT_ID": CLIENT_ID}


@pytest.mark.parametrize("which", ["environment", "default profile", "profile", "client", "federated"])
def test_tasks_get_the_least_of_the_driver_s_login(workspace, tmp_path, monkeypatch, which):
    """Each login of databricks-sdk answers on a worker that inherits nothing; no repr shows a secret."""
    variables, auth_type, kind = logins(workspace, tmp_path)[which]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    login = log_in()
    assert (login.host, login.auth_type) == (workspace.host, auth_type)
    handed = ready(ENDPOINT)
    assert (handed.base_url, type(handed.api_key)) == (workspace.host, kind)
    assert not any(secret in f"{login!r} {handed!r} {handed.api_key.origin}" for secret in SECRETS)
    assert answered(handed, monkeypatch).text == "hello"


def test_an_azure_principal_s_tokens_come_from_entra(workspace, monkeypatch):
    """The worker asks the tenant for Databricks' scope by client credentials, and calls with what it gets."""
    entra = AzureEnvironment("FAKE", "https://m/", "https://r/", f"{workspace.host}/")
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "azure-client-secret")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    config = Config(
        azure_client_id=CLIENT_ID,
        azure_client_secret=CLIENT_SECRET,
        azure_tenant_id=workspace.identity.tenant,
        databricks_environment=DatabricksEnvironment(Cloud.AZURE, ".fake", "databricks-app", entra),
    )
    key = key_of(config)
    assert key.token_url == f"{workspace.host}/{workspace.identity.tenant}/oauth2/v2.0/token"
    assert answered(replace(ENDPOINT, base_url=workspace.host, api_key=key), monkeypatch).text == "hello"
    (form,) = [request.raw.decode() for request in workspace.requests if request.path.endswith("/v2.0/token")]
    assert "scope=databricks-app%2F.default" in form


def test_a_lent_token_is_renewed_by_the_driver_alone(workspace, monkeypatch):
    """Between stages the driver gets another in time; a worker whose token has ended says what to do about it."""
    for name, value in {"HOST": workspace.host, "OIDC_TOKEN": FEDERATED, "CLIENT_ID": CLIENT_ID}.items():
        monkeypatch.setenv(f"DATABRICKS_{name}", value)
    workspace.identity.life_s = 30.0  # databricks-sdk takes a token for ended 40 s before its end
    first = located(ENDPOINT)
    workspace.identity.life_s = 3600.0
    second = renewed(first)
    assert second.api_key.token != first.api_key.token
    assert second.api_key.ends_at - time.time() == pytest.approx(3600.0, abs=20.0)
    assert renewed(second) is second
    assert second.endpoint_id == first.endpoint_id == ENDPOINT.endpoint_id
    now = [first.api_key.ends_at - 1.0]
    held = LentKey(first.api_key, clock=lambda: now[0])
    assert asyncio.run(held.header()) == f"Bearer {first.api_key.token.value}"
    now[0] += 2.0
    with pytest.raises(CallError, match="only the driver can get another; start the same command again") as raised:
        asyncio.run(held.header())
    assert raised.value.kind is ErrorKind.CREDENTIALS
    assert "service principal" in raised.value.message
    assert TOKEN_MARK not in raised.value.message


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "databricks-sdk finds no login"),
        ({"DATABRICKS_HOST": "HERE"}, "DATABRICKS_CONFIG_PROFILE"),
        (
            {"DATABRICKS_HOST": "HERE", "DATABRICKS_TOKEN": PAT, "DATABRICKS_CLIENT_SECRET": CLIENT_SECRET, **_CLIENT},
            "more",
        ),
        (
            {"DATABRICKS_HOST": "HERE", "DATABRICKS_USERNAME": "a", "DATABRICKS_PASSWORD": "canary-pass"},
            "no bearer token",
        ),
        ({"DATABRICKS_CONFIG_PROFILE": "nobody"}, "nobody"),
    ],
)
def test_no_login_is_told_before_anything_is_called(workspace, monkeypatch, variables, said):
    """Nothing found, too much found, and what serving endpoints don't take: each with its mend, none with a secret."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("HERE", workspace.host))
    with pytest.raises(InputError, match=said) as raised:
        ready(ENDPOINT)
    assert not any(secret in str(raised.value) for secret in (*SECRETS, "canary-pass"))
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("secret", ["wrong/secret", CLIENT_SECRET])
def test_a_client_that_is_refused_ends_the_run_before_its_first_call(workspace, monkeypatch, secret):
    """The token server's refusal names the client and what to check, and the secret nowhere."""
    workspace.identity.clients = {CLIENT_ID: "another"}
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", secret)
    with pytest.raises(InputError, match=r"refuses the client .*invalid_client") as raised:
        ready(ENDPOINT)
    assert secret not in str(raised.value)
    assert not any("/invocations" in path for path in workspace.paths())


def test_a_secret_scope_s_secret_is_a_key(workspace, monkeypatch):
    """As the key of any endpoint, and as an OAuth client's secret; read on the driver, and never shown."""
    with workspace.environment():
        handed = ready(replace(ENDPOINT, base_url=workspace.host, api_key=SecretScope("keys", "model")))
        elsewhere = ready(Endpoint("gpt", base_url="http://other/v1", api_key=SecretScope("keys", "model")))
        client = OAuthClient(f"{workspace.host}/oidc/v1/token", CLIENT_ID, SecretScope("keys", "client"), "all-apis")
        by_client = ready(replace(ENDPOINT, api_key=client))
    assert elsewhere.api_key == Secret(PAT)
    assert by_client.base_url == workspace.host
    assert not any(secret in f"{handed!r}{elsewhere!r}{by_client!r}" for secret in SECRETS)
    assert answered(handed, monkeypatch).text == answered(by_client, monkeypatch).text == "hello"


@pytest.mark.parametrize(
    ("scope", "secret", "said"),
    [("keys", "none", "does not exist"), ("none", "model", "does not exist"), ("closed", "model", "READ permission")],
)
def test_a_secret_that_can_not_be_read_is_told(workspace, scope, secret, said):
    """Scope and secret are named, with what the workspace says."""
    workspace.secrets.values["closed", "model"] = "x"
    workspace.secrets.closed.add("closed")
    with workspace.environment(), pytest.raises(InputError, match=said) as raised:
        ready(replace(ENDPOINT, api_key=SecretScope(scope, secret)))
    assert str(raised.value).startswith(f"the secret {secret} in the scope {scope} can't be read: ")
    assert "; mend api_key" in str(raised.value)
    assert "Config:" not in str(raised.value)


def test_a_key_of_the_configuration_goes_before_the_login(workspace, monkeypatch):
    """Only the workspace's address is taken from the environment then."""
    monkeypatch.setenv("MILL_KEY", PAT)
    with workspace.environment(DATABRICKS_TOKEN="dapi-another"):  # noqa: S106 - nobody's
        handed = ready(replace(ENDPOINT, api_key=SecretFromEnv("MILL_KEY")))
    with workspace.environment(DATABRICKS_HOST=workspace.host):
        assert ready(replace(ENDPOINT, api_key=SecretFromEnv("MILL_KEY"))) == handed
    assert handed.api_key == Secret(PAT)
    assert answered(handed, monkeypatch).text == "hello"
