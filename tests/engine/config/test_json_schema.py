"""The schema that editors check with takes what the reader takes, and finds what it refuses key by key."""

from pathlib import Path

import config_shapes as shapes
import jsonschema
import pytest
import yaml
from config_shapes import text_of

from engine.config.json_schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CONF = Path(__file__).parents[3] / "conf"


def refused(values):
    return ["/".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(values)]


def test_it_is_a_schema():
    """Of the draft that it names."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.name)
def test_the_configurations_to_copy_are_valid(path):
    """Every one that is shipped."""
    assert refused(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(("generation", "body"), shapes.ALL)
def test_every_generation_is_valid(generation, body):
    """With what of dao-ai's is read and ignored."""
    assert refused(yaml.safe_load(text_of(generation, body))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_steps: 3", "max_step: 3"),
        ("max_steps: 3", "max_steps: many"),
        ("max_tokens: 64", "max_tokens: -1"),
        ("provider: openai #", "provider: opnai #"),
        ("agent: *classifier", "agents: *classifier"),
        ("alpha: 0.05", "alpha: 0.7"),
        ("dataset: { traces: { experiment: production } }", "dataset: { trace: { experiment: production } }"),
    ],
)
def test_a_mistake_is_found(old, new):
    """Unknown keys, wrong types and numbers out of bounds."""
    text = (CONF / "migration.yaml").read_text()
    assert old in text
    assert refused(yaml.safe_load(text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_tokens: 64", "max_tokens: {env: TOKENS}"),
        ("max_tokens: 64", 'max_tokens: "${var.tokens}"'),
        ("name: small-model #", "name: {options: [{env: A}, b]} #"),
        ("agent: *classifier", "agent: classifier"),
        ("prompt: *classify\n", "prompt: [*classify]\n"),
        ("proposer: [gepa, demos]", "proposer: auto"),
        ("resources:", "parameters: {a: {default: 1}}\nresources:"),
    ],
)
def test_names_variables_and_references_are_valid(old, new):
    """Wherever the reader takes them."""
    text = (CONF / "migration.yaml").read_text()
    assert old in text
    assert refused(yaml.safe_load(text.replace(old, new, 1))) == []


def test_editors_can_say_what_a_key_is():
    """Every key of the sections that people write has a line, or a section of its own that has one."""
    for name in ("LLMModel", "PromptModel", "PromptOptimizationModel", "BudgetSettings", "GateSettings"):
        for key, one in SCHEMA["$defs"][name]["properties"].items():
            refers = "$ref" in one or any("$ref" in branch for branch in one.get("anyOf", []))
            assert "description" in one or refers, f"{name}.{key}"
