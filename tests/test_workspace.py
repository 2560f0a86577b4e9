"""The fake workspace is asked by the real clients: databricks-sdk, and MLflow's store of Unity Catalog prompts."""

import mlflow
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import PermissionDenied, ResourceDoesNotExist, TooManyRequests, Unauthenticated
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from mlflow.exceptions import MlflowException
from mlflow.store._unity_catalog.registry.rest_store import UcModelRegistryStore
from workspace import CLIENT_ID, CLIENT_SECRET, PAT, ServedEndpoint, Workspace
from workspace.serving import too_many


def client(workspace, **settings):
    settings = settings or {"token": PAT}
    config = Config(host=workspace.host, retry_timeout_seconds=1, config_file="/nowhere/.databrickscfg", **settings)
    return WorkspaceClient(config=config)


@pytest.mark.parametrize("who", [{"token": PAT}, {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}])
def test_the_real_sdk_describes_and_asks_endpoints(who):
    """With a PAT and as an OAuth client, databricks-sdk reads descriptions, answers and secrets of the fake."""
    limits = [{"calls": 60, "tokens": 1000, "renewal_period": "minute", "key": "endpoint"}]
    chat = ServedEndpoint("chat", rate_limits=limits, usage_tracking=True)
    custom = ServedEndpoint("custom", lambda _: {"label": 1}, task=None, cold_s=0.0)
    with Workspace(chat, custom) as workspace:
        workspace.secrets.values["scope", "key"] = "hunter2"
        asked = client(workspace, **who)
        described = asked.serving_endpoints.get("chat")
        assert (described.task, described.state.ready.value) == ("llm/v1/chat", "READY")
        assert (described.ai_gateway.rate_limits[0].calls, described.ai_gateway.rate_limits[0].tokens) == (60, 1000)
        message = ChatMessage(role=ChatMessageRole.USER, content="hi")
        assert asked.serving_endpoints.query("chat", messages=[message]).choices[0].message.content == "hi"
        custom.warm_at = 0.0
        assert asked.serving_endpoints.query("custom", dataframe_records=[{"q": 1}]).predictions == [{"label": 1}]
        assert asked.dbutils.secrets.get("scope", "key") == "hunter2"
    assert "POST /serving-endpoints/chat/invocations" in workspace.paths()


def test_the_real_sdk_reads_the_errors():
    """Each refusal is the exception that databricks-sdk raises for the real one."""

    def busy(_):
        raise too_many("busy")

    with Workspace(ServedEndpoint("closed", closed=True), ServedEndpoint("busy", busy)) as workspace:
        workspace.secrets.values["closed", "key"] = "hunter2"
        workspace.secrets.closed.add("closed")
        asked = client(workspace)
        wrong, basic = {"token": "dapi-wrong"}, {"username": "a", "password": "b"}
        for error, ask in (
            (ResourceDoesNotExist, lambda: asked.serving_endpoints.get("nobody")),
            (ResourceDoesNotExist, lambda: asked.dbutils.secrets.get("no-scope", "key")),
            (PermissionDenied, lambda: asked.dbutils.secrets.get("closed", "key")),
            (PermissionDenied, lambda: asked.serving_endpoints.query("closed", messages=[])),
            (PermissionDenied, lambda: client(workspace, **wrong).serving_endpoints.get("busy")),
            (Unauthenticated, lambda: client(workspace, **basic).serving_endpoints.get("busy")),
        ):
            with pytest.raises(error):
                ask()
        with pytest.raises((TooManyRequests, TimeoutError), match=r"REQUEST_LIMIT_EXCEEDED|Timed out"):
            asked.serving_endpoints.query("busy", messages=[ChatMessage(role=ChatMessageRole.USER, content="x")])


def test_mlflow_keeps_prompts_in_the_fake(monkeypatch):
    """MLflow's own store makes, tags, aliases and finds prompts; a bare name and a Beta that is off are refused."""
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nowhere/.databrickscfg")
    with Workspace() as workspace, workspace.environment():
        store = UcModelRegistryStore(store_uri="databricks-uc", tracking_uri=mlflow.get_tracking_uri())
        store.create_prompt("main.default.hello", tags={"team": "a"})
        made = store.create_prompt_version("main.default.hello", "Hi {{x}}", description="first", tags={"k": "v"})
        assert (made.version, made.template, made.tags["k"]) == (1, "Hi {{x}}", "v")
        store.set_prompt_alias("main.default.hello", "champion", 1)
        store.set_prompt_version_tag("main.default.hello", 1, "score", "0.9")
        found = store.get_prompt_version_by_alias("main.default.hello", "champion")
        assert (found.version, found.tags["score"], found.aliases) == (1, "0.9", ["champion"])
        assert store.get_prompt("main.default.nobody") is None
        names = [p.name for p in store.search_prompts("catalog = 'main' AND schema = 'default'")]
        assert names == ["main.default.hello"]
        for beta, name, said in (
            ("on", "bare", "catalog.schema.prompt_name"),
            ("disabled", "main.default.more", "FEATURE_DISABLED"),
            ("absent", "main.default.more", "ENDPOINT_NOT_FOUND"),
        ):
            workspace.prompts.beta = beta
            with pytest.raises(MlflowException, match=said):
                store.create_prompt(name)
