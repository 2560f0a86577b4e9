"""Keys of dao-ai's sections that mean nothing here, or go by another name: told, never passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine.config.remarks import Remarks
from engine.config.variables import is_variable

# What each does in dao-ai, and why it does not matter here.
MODEL: Mapping[str, str] = {
    "fallbacks": "is ignored: what another model answers says nothing of this one",
    "use_responses_api": "is ignored: the chat completions API is asked",
    "disable_streaming": "is ignored: answers are never streamed",
    "ai_gateway": "is ignored: the serving endpoint itself is asked",
    "use_ai_gateway": "is ignored: the serving endpoint itself is asked",
    "best_of_n": "is ignored: every answer is scored as the model gives it",
    "on_behalf_of_user": "is ignored: the credentials of the run are used",
    "schema": "is ignored: the serving endpoint is asked by its name",
}
SCHEMA: Mapping[str, str] = {"permissions": "is ignored: nothing is granted"}
PROMPT: Mapping[str, str] = {"auto_register": "is ignored: the current prompt and what is promoted are registered"}
AGENT: Mapping[str, str] = dict.fromkeys(
    (
        "tools",
        "guardrails",
        "middleware",
        "skills",
        "response_format",
        "handoff_prompt",
        "handoff",
        "recursion_limit",
        "call_limit",
        "requires",
        "internal",
    ),
    "",
)
DATASET: Mapping[str, str] = {"overwrite": "is ignored: the rows in the file are read as they are, each time"}
_CREDENTIALS = ("service_principal", "client_id", "client_secret", "workspace_host", "pat")


def without(value: Any, foreign: Mapping[str, str], where: str, name: str, remarks: Remarks) -> Any:
    """Return a mapping without keys that mean nothing here; each that said something is told."""
    if not isinstance(value, dict) or not foreign.keys() & value.keys():
        return value
    for key in value:
        if key in foreign and foreign[key] and value[key] not in (None, False, [], {}):
            remarks.note(where, f"{name}.{key} {foreign[key]}")
    return {key: one for key, one in value.items() if key not in foreign}


def model(value: Any, where: str, name: str, remarks: Remarks) -> Any:
    """Return a model of dao-ai's as one of ours: credentials, the workspace's address, and extra parameters."""
    if not isinstance(value, dict):
        return value
    found = dict(without(value, MODEL, where, name, remarks))
    if "extra_params" in found and "extra" not in found:
        found["extra"] = found.pop("extra_params")
    given = {key: found.pop(key) for key in _CREDENTIALS if key in found}
    principal = given.pop("service_principal", None)
    if isinstance(principal, dict):
        given = {**principal, **given}
    host = given.get("workspace_host")
    if host is not None:
        found.setdefault("base_url", host)
    if "api_key" in found:
        return found
    if given.get("pat") is not None:
        found["api_key"] = given["pat"]
    elif given.get("client_id") is not None and given.get("client_secret") is not None:
        place = host or os.environ.get("DATABRICKS_HOST")
        if place:
            found["api_key"] = {
                "oauth": {
                    "token_url": f"{str(place).rstrip('/')}/oidc/v1/token",
                    "client_id": _plain(given["client_id"]),
                    "client_secret": given["client_secret"],
                    "scope": "all-apis",
                }
            }
        else:
            remarks.warn(where, f"{name}.client_id is not used: neither workspace_host nor DATABRICKS_HOST is set")
    return found


def agent(value: Any, where: str, name: str, remarks: Remarks) -> Any:
    """Return an agent of dao-ai's as one of ours: its model and its prompt."""
    if not isinstance(value, dict):
        return value
    lost = [key for key in AGENT if value.get(key) not in (None, False, [], {}, "")]
    if lost:
        remarks.note(
            where,
            f"{name} answers with its model and prompt alone; {', '.join(lost)} {'are' if len(lost) > 1 else 'is'} "
            "not run (a whole agent is optimized with predict_fn)",
        )
    return {key: one for key, one in value.items() if key not in AGENT}


def _plain(value: Any) -> Any:
    """Return an id as text where it is none of the variables that are resolved later."""
    return value if is_variable(value) else str(value)
