"""dao-ai's typed variables, wherever a value may stand: ``env``, ``value``, ``options``, ``scope`` with ``secret``.

Reading a configuration reads no secret. Where a credential stands, a variable stays what it is and becomes a descriptor
that is resolved when a run is prepared; anywhere else one that is a secret is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine.config.remarks import Remarks
from engine.config.yaml_source import YamlSource
from engine.errors import ConfigError

_SHAPES = ({"env"}, {"value"}, {"options"}, {"scope", "secret"})
# Variables at these keys become descriptors.
_CREDENTIALS = frozenset({"api_key", "pat", "client_secret"})
# Values under these keys are a user's own.
_UNTOUCHED = frozenset(
    {
        "data",
        "extra",
        "extra_params",
        "tags",
        "scorers",
        "default_template",
        "template",
    }
)
# What is read of an agent; its tools and its memory have variables, too.
_OF_AGENTS = frozenset({"name", "model", "prompt"})


class Secret(Exception):  # noqa: N818 - a finding, not a defect
    """A variable that only a secret store can resolve."""


def is_variable(value: Any) -> bool:
    """Say whether a value is a typed variable.

    >>> is_variable({"env": "HOST", "default_value": "x"}), is_variable({"env": "HOST", "name": "x"})
    (True, False)
    """
    return isinstance(value, Mapping) and {str(key) for key in value} - {"default_value"} in _SHAPES


def resolve(value: Any) -> Any:
    """Return what a variable stands for; ``None`` where nothing has a value.

    Raises:
        Secret: only a secret store can say.
        ValueError: the variable is not well formed.

    >>> resolve({"options": [{"env": "SURELY_NOT_SET_ANYWHERE"}, {"scope": "s", "secret": "k"}, "fallback"]})
    'fallback'
    """
    if not is_variable(value):
        return value
    found, secret = _first(value["options"]) if "options" in value else _only(value)
    if found is None:
        found = value.get("default_value")
    if found is None and secret:
        raise Secret
    return found


def _only(value: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return what a variable without options stands for, and whether only a secret store can say."""
    if "env" in value:
        found = os.environ.get(str(value["env"]))
        # What a Databricks job leaves where it could not put a secret in.
        unresolved = found is not None and found.startswith("{{") and found.endswith("}}")
        return (None if unresolved else found), False
    if "value" not in value:
        return None, True
    if value["value"] is not None and not isinstance(value["value"], str | int | float | bool):
        raise ValueError("value is a list or a mapping; give a text, a number or true or false")
    return value["value"], False


def _first(options: Any) -> tuple[Any, bool]:
    if not isinstance(options, list):
        raise ValueError("options is not a list; give the variables to try in order")  # noqa: TRY004 - told as one
    secret = False
    for option in options:
        try:
            found = resolve(option)
        except Secret:
            secret = True
            continue
        if found is not None:
            return found, secret
    return None, secret


def names(value: Any) -> list[str]:
    """Return the environment variables that a typed variable asks, in order.

    >>> names({"options": [{"env": "A"}, {"env": "B"}]})
    ['A', 'B']
    """
    if not isinstance(value, Mapping):
        return []
    if "env" in value:
        return [str(value["env"])]
    options = value.get("options")
    return [name for option in options for name in names(option)] if isinstance(options, list) else []


def resolve_below(value: Any, at: tuple[str | int, ...], source: YamlSource, remarks: Remarks) -> Any:
    """Return ``value`` with all variables below it resolved, but those that become descriptors and a user's own data.

    Raises:
        ConfigError: a variable is not well formed, or only a secret store could say.
    """
    return _Resolver(source, remarks).below(value, at)


class _Resolver:
    """Each anchored value is resolved once, so that what was one object stays one."""

    def __init__(self, source: YamlSource, remarks: Remarks) -> None:
        self._source = source
        self._remarks = remarks
        self._done: dict[int, Any] = {}

    def below(self, value: Any, at: tuple[str | int, ...]) -> Any:
        if id(value) in self._done:
            return self._done[id(value)]
        found = value
        if is_variable(value) and at and (at[-1] in _CREDENTIALS or (at[-1] == "client_id" and _has_secret(value))):
            return value
        if is_variable(value):
            found = self._resolved(value, at)
        elif isinstance(value, dict):
            is_agent = at[-1:] == ("agent",) or (len(at) == 2 and at[0] == "agents")
            found = {
                key: one
                if key in _UNTOUCHED or (is_agent and key not in _OF_AGENTS)
                else self.below(one, (*at, str(key)))
                for key, one in value.items()
            }
        elif isinstance(value, list):
            found = [self.below(one, (*at, number)) for number, one in enumerate(value)]
        if isinstance(value, dict | list):
            self._done[id(value)] = found
        return found

    def _resolved(self, value: Any, at: tuple[str | int, ...]) -> Any:
        where, key = self._source.where(at), ".".join(map(str, at))
        try:
            found = resolve(value)
        except Secret:
            raise ConfigError(
                f"{where}: {key} is a secret (scope and secret), and secrets are read for credentials alone, when a "
                "run is prepared; give {env: NAME}, a value or a default_value"
            ) from None
        except ValueError as error:
            raise ConfigError(f"{where}: {key}: {error}") from None
        if _has_secret(value):
            self._remarks.warn(
                where, f"{key}: the secret among its options is passed over: secrets are read for credentials alone"
            )
        if found is None and names(value):
            self._remarks.warn(where, f"{key}: {' and '.join(names(value))} not set, and there is no default_value")
        return found


def _has_secret(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    options = value.get("options")
    return "secret" in value or (isinstance(options, list) and any(_has_secret(option) for option in options))
