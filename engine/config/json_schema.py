"""The JSON Schema of configurations, for editors: today's shape, and what dao-ai's files may have beside it.

It is made of the models that read configurations, widened by what the reader does before them: names and variables
where a value may stand, and keys that are read and ignored. Rules that span keys are the reader's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config import foreign_keys
from engine.config.app import AppConfig
from engine.config.descriptions import DESCRIBED
from engine.config.optimization import SEARCH_KEYS

_REFERENCE = r"\$\{(var|param)\."
_NAMED = (
    "agent",
    "model",
    "source_model",
    "reflection_model",
    "scorer_model",
    "dataset",
    "schema",
    "trace_table",
    "inference_table",
)
_CREDENTIALS = {
    "pat": "where a personal access token is found",
    "client_id": "of a service principal",
    "client_secret": "where a service principal's secret is found",
    "service_principal": "client_id and client_secret together",
    "workspace_host": "the workspace's address, as base_url",
    "extra_params": "as extra",
}
# Models whose own keys may be variables of dao-ai's kind.
_WHERE_A_SECRET_IS = ("SecretModel", "KeyModel")


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    schema = AppConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    for name, definition in {**definitions, "AppConfig": schema}.items():
        for key, text in DESCRIBED.get(name, {}).items():
            definition["properties"][key].setdefault("description", text)
    for name, definition in definitions.items():
        if name not in _WHERE_A_SECRET_IS:
            _widen(definition)
    _optimization(definitions)
    _foreign(definitions)
    definitions["Variable"] = _VARIABLE
    properties = schema["properties"]
    properties["parameters"] = _PARAMETERS
    properties["variables"] = {"type": "object", "description": "variables that are used elsewhere by anchor"}
    for one in (*definitions.values(), schema):
        _untitle(one)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "promptmill configuration",
        **schema,
        "additionalProperties": True,
    }


_VARIABLE: dict[str, Any] = {
    "type": "object",
    "description": "a value that is found when the file is read",
    "properties": {
        "env": {"type": "string", "description": "a variable of the environment"},
        "value": {"type": ["string", "number", "boolean"]},
        "options": {"type": "array", "description": "tried in order"},
        "scope": {"type": "string", "description": "a Databricks secret scope"},
        "secret": {"type": "string", "description": "a key in it"},
        "default_value": {"description": "where nothing else has a value"},
    },
    "additionalProperties": False,
    "anyOf": [{"required": ["env"]}, {"required": ["value"]}, {"required": ["options"]}, {"required": ["secret"]}],
}
_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "description": "what the file leaves open; used as ${var.NAME}, given by --param NAME=VALUE",
    "additionalProperties": {
        "type": ["object", "null"],
        "properties": {
            "description": {"type": ["string", "null"]},
            "default": {"type": ["string", "number", "boolean", "null"]},
        },
        "additionalProperties": False,
    },
}


def _widen(definition: dict[str, Any]) -> None:
    """Let names, variables and references stand where the reader takes them."""
    properties: dict[str, Any] = definition.get("properties", {})
    for key, one in properties.items():
        if key in _NAMED:
            properties[key] = _or(one, {"type": "string"})
        elif _is_scalar(one):
            reference = {"type": "string", "pattern": _REFERENCE}
            properties[key] = _or(one, {"$ref": "#/$defs/Variable"}, reference)


def _is_scalar(one: Mapping[str, Any]) -> bool:
    kinds = [branch.get("type") for branch in one.get("anyOf", [one])]
    return all(kind in {"string", "integer", "number", "boolean", "null"} for kind in kinds)


def _or(one: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: one[key] for key in ("description", "default") if key in one}
    rest = {key: value for key, value in one.items() if key not in {*kept, "title"}}
    branches = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**kept, "anyOf": [*branches, *others]}


def _optimization(definitions: dict[str, Any]) -> None:
    entry = definitions["PromptOptimizationModel"]
    properties = entry["properties"]
    search = definitions["SearchSettings"]["properties"]
    names = {"type": "array", "items": {"type": "string"}}
    search["proposer"] = _or(search["proposer"], {"type": "string"}, names)
    properties |= {key: search[key] for key in sorted(SEARCH_KEYS)}
    properties["dataset_name"] = {"type": "string", "description": "short for dataset: {name: …}"}
    one = [{"$ref": "#/$defs/PromptModel"}, {"type": "string"}]
    properties["prompt"] = {
        "description": "the prompt to rewrite, else the agent's; several are the prompts of a program",
        "anyOf": [*one, {"type": "array", "items": {"anyOf": one}, "minItems": 1}],
    }
    entry["required"] = ["agent"]
    entry["anyOf"] = [{"required": ["dataset"]}, {"required": ["dataset_name"]}]
    # dao-ai's first shape has entries right below optimizations; its reflection and judging models may be null.
    section = definitions["OptimizationsModel"]
    section["properties"]["cache_threshold_optimizations"] = {"description": "dao-ai's; is ignored", "deprecated": True}
    section["additionalProperties"] = {"$ref": "#/$defs/PromptOptimizationModel"}


def _foreign(definitions: dict[str, Any]) -> None:
    """Let the keys of dao-ai's stand that are read and ignored, and say so."""
    ignored = {
        "LLMModel": foreign_keys.MODEL,
        "SchemaModel": foreign_keys.SCHEMA,
        "PromptModel": foreign_keys.PROMPT,
        "DatasetModel": foreign_keys.DATASET,
    }
    for name, keys in ignored.items():
        definitions[name]["properties"] |= {
            key: {"description": f"dao-ai's; {reason}", "deprecated": True} for key, reason in keys.items()
        }
    definitions["LLMModel"]["properties"] |= {
        key: {"description": f"dao-ai's; {reason}"} for key, reason in _CREDENTIALS.items()
    }
    definitions["DatasetModel"]["properties"]["schema"] = {
        "description": "the schema that the name is in",
        "anyOf": [{"$ref": "#/$defs/SchemaModel"}, {"type": "string"}],
    }
    resources = definitions["ResourcesModel"]["properties"]
    resources["models"] = {**resources["llms"], "description": "the same as llms"}
    for definition in definitions.values():
        for one in definition.get("properties", {}).values():
            if isinstance(one, dict) and "default" in one and one["default"] is None:
                del one["default"]


def _untitle(value: Any) -> None:
    """Drop the titles that only repeat the keys."""
    if isinstance(value, dict):
        if isinstance(value.get("title"), str):
            del value["title"]
        for one in value.values():
            _untitle(one)
    elif isinstance(value, list):
        for one in value:
            _untitle(one)
