"""The prompt registry of Unity Catalog, over real HTTP, and what is kept where it can't do something."""

import mlflow
import pytest
from workspace import ApiError, Workspace
from workspace.errors import invalid

from engine import registry
from engine.errors import ConfigError
from udfs.prompt import Prompt

NAME = "main.default.sort"
FIRST, SECOND = Prompt.parse("Sort {{text}}."), Prompt.parse([{"role": "user", "content": "Sort:\n{{text}}"}])
TAGS = {"promptmill.role": "winner", "promptmill.note": "x" * 400}


@pytest.fixture
def workspace(monkeypatch):
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nowhere/.databrickscfg")
    before = mlflow.get_registry_uri()
    with Workspace() as found, found.environment():
        mlflow.set_registry_uri("databricks-uc")
        yield found
    mlflow.set_registry_uri(before)


def register(prompt=FIRST, name=NAME, aliases=()):
    return registry.register(name, prompt, message="m", tags=TAGS, aliases=aliases)


def test_versions_aliases_and_tags_are_kept_in_unity_catalog(workspace):
    """A second version of the same prompt too, whose text is read back; tags have no dots and are not too long."""
    one = register(aliases=("champion",))
    two = register(SECOND, aliases=("candidate", "champion"))
    assert (one.version, two.version, two.uri) == (1, 2, f"prompts:/{NAME}/2")
    kept = workspace.prompts.prompts[NAME]
    assert kept["aliases"] == {"candidate": "2", "champion": "2"}
    tags = {key: value for key, value in kept["versions"]["2"]["tags"].items() if key.startswith("promptmill")}
    assert tags == {"promptmill_role": "winner", "promptmill_note": "x" * 256}


def test_a_text_that_is_registered_already_is_used_again(workspace):
    """Though Unity Catalog has no `@latest` to look for it from."""
    register()
    register(SECOND)
    assert register().version == 1
    assert len(workspace.prompts.prompts[NAME]["versions"]) == 2


def test_prompts_are_loaded_by_alias_by_version_and_as_the_newest(workspace):
    """What is not there is named, with the registry."""
    register(aliases=("champion",))
    register(SECOND)
    assert registry.load(NAME, alias="champion", version=None) == FIRST
    assert registry.load(NAME, alias=None, version=2) == SECOND
    assert registry.load(NAME, alias=None, version=None) == SECOND
    assert registry.versions(NAME) == {"2": SECOND, "1": FIRST}
    for alias, version, name in (("nobody", None, NAME), (None, 9, NAME), (None, None, "main.default.none")):
        with pytest.raises(ConfigError, match=r"can't be loaded from the registry at databricks-uc"):
            registry.load(name, alias=alias, version=version)


@pytest.mark.parametrize("beta", ["disabled", "absent"])
def test_a_registry_that_is_off_loses_nothing(workspace, beta, caplog):
    """The caller keeps the prompt as an artifact; a configured one that must be loaded is an error."""
    workspace.prompts.beta = beta
    assert register() is None
    assert "kept in the run's artifacts" in caplog.text
    assert registry.versions(NAME) == {}
    with pytest.raises(ConfigError, match="give its template in the configuration"):
        registry.load(NAME, alias="champion", version=None)


def test_a_name_without_catalog_and_schema_is_told_what_it_lacks(workspace, caplog):
    """Unity Catalog refuses it."""
    assert register(name="sort") is None
    assert "give the prompt a schema" in caplog.text


def test_a_registry_that_takes_no_such_tags_takes_the_version(workspace, caplog):
    """What it is called in the registry matters more than what is noted of it."""

    def picky(request):
        if request.path.endswith("/versions") and b"promptmill" in request.raw:
            raise invalid("Tag key is not allowed by a policy")

    workspace.hook = picky
    assert register().version == 1
    assert "registered without its tags: " in caplog.text


def test_an_alias_that_can_not_be_set_promotes_nothing(workspace, caplog):
    """And leaves the other alias where it was."""
    register(aliases=("champion",))

    def closed(request):
        if request.path.endswith("/aliases/champion") and request.method == "POST":
            raise ApiError(403, "PERMISSION_DENIED", "EXECUTE on the prompt is not enough")

    workspace.hook = closed
    assert register(SECOND, aliases=("candidate", "champion")) is None
    assert workspace.prompts.prompts[NAME]["aliases"] == {"champion": "1"}
    assert "EXECUTE on the prompt is not enough" in caplog.text
