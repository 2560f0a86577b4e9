"""A configuration as it was understood, for people: everything put in, nothing secret shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from engine.config.app import AppConfig

MASK = "***"
# Keys whose texts may be credentials that somebody put where only settings belong.
_SECRET_KEY = re.compile(
    r"(?i)(api[_.\-]?key|token|secret|password|passwd|pwd|authorization|credentials?|account\.key.*)$"
)
# Below these keys stands where a credential is found, never the credential.
_PLACES = ("api_key", "client_secret")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def resolved(config: AppConfig) -> dict[str, Any]:
    """Return the configuration as plain data in today's shape; inline rows are counted, not shown.

    >>> resolved(AppConfig.model_validate({"mlflow": {"tracking_uri": "http://me:pw@host"}}))["mlflow"]["tracking_uri"]
    'http://***@host'
    """
    whole = config.model_dump(mode="json", exclude_none=True)
    shown: dict[str, Any] = _masked(whole, "")
    return {key: value for key, value in shown.items() if value}


def resolved_yaml(config: AppConfig) -> str:
    """Return the same as YAML."""
    return yaml.safe_dump(resolved(config), sort_keys=False, allow_unicode=True, width=120)


def _masked(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        if key in _PLACES:
            return {name: _masked_place(one, name) for name, one in value.items() if one not in ([], None)}
        return {_written(name): _one(_written(name), one) for name, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, key) for one in value]
    if isinstance(value, str):
        return MASK if _SECRET_KEY.search(key) else _USER_INFO.sub(f"{MASK}@", value)
    return value


def _masked_place(value: Any, key: str) -> Any:
    """Show where a credential is found: names of variables, scopes, files and servers."""
    if isinstance(value, list):
        return [_masked_place(one, key) for one in value]
    if isinstance(value, Mapping):
        return {name: _masked_place(one, name) for name, one in value.items() if one not in ([], None)}
    return _USER_INFO.sub(f"{MASK}@", value) if isinstance(value, str) else value


def _one(key: str, value: Any) -> Any:
    if key == "data" and isinstance(value, list):
        return f"{len(value)} records"
    if key == "prompt" and isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _masked(value, key)


def _written(name: str) -> str:
    """Return a field's key in YAML."""
    return {"schema_": "schema"}.get(name, name)
