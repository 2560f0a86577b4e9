"""Names of models as strings."""

import pytest

from engine.model_names import parse
from udfs.errors import InputError


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("endpoints:/databricks-claude", ("databricks", "databricks-claude")),
        (" databricks:/agent ", ("databricks", "agent")),
        ("endpoints:///three-slashes", ("databricks", "three-slashes")),
        ("openai:/gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("openai:/org/model", ("openai", "org/model")),
        ("meta-llama/Llama-3", (None, "meta-llama/Llama-3")),
        ("llama3:8b", (None, "llama3:8b")),
    ],
)
def test_a_model_s_name_says_its_provider_or_none(name, found):
    """MLflow's URIs and plain names are understood; a slash or a colon inside a name stays there."""
    assert parse(name) == found


@pytest.mark.parametrize("name", ["", "endpoints:/", "databrick:/big", "models:/m/1"])
def test_what_names_no_model_is_refused_with_the_mend(name):
    """An empty name and a scheme that is not known stop before any call."""
    with pytest.raises(InputError, match="write"):
        parse(name)
