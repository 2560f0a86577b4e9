"""A configuration as it was understood, for people: everything put in, nothing secret shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from engine.config.app import AppConfig

MASK = "***"
# Keys whose texts may be credentials that somebody put where only settings belong.
_SECRET_KEY = re.compile(
    r"(?i)(api[_.\-]?key|token|secret|password|passwd|pwd|authorization|credentials?|account\.key.*)$"
)
# Below these keys stands where a credential is found, never the credential.
_PLACES = ("api_key", "client_secret", "client_id", "oauth")
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
    return yaml.dump(resolved(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as blocks: most of them are prompts."""

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def _masked(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: one for name, one in _written(value, key) if one not in ([], {}, None)}
    if isinstance(value, list):
        return [_masked(one, key) for one in value]
    if isinstance(value, str):
        return MASK if _SECRET_KEY.search(key) else _USER_INFO.sub(f"{MASK}@", value)
    return value


def _written(value: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a mapping by its keys in YAML."""
    for name, one in value.items():
        if key in _PLACES or key == "options":
            # Names of variables, scopes, files and servers: where a credential is found, never the credential.
            yield name, _masked(one, name if isinstance(one, list | Mapping) else "")
        elif name == "data" and isinstance(one, list):
            yield name, f"{len(one)} records"
        elif name == "prompts" and isinstance(one, list):
            yield "prompt", _masked(one[0] if len(one) == 1 else one, name)
        else:
            yield {"schema_": "schema"}.get(name, name), _masked(one, name)
