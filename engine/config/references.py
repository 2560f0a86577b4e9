"""What a name means: of an agent, a prompt, a model or a data set that stands elsewhere in the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from engine import model_names
from engine.errors import ConfigError, InputError

_URI = re.compile(r"prompts:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))?")
# Databricks' own models are served everywhere under names that begin so.
_SERVED = "databricks-"
_OPENAI = "https://api.openai.com/v1"


def found(name: str, pool: Any) -> Any:
    """Return what ``pool`` has under a key, or with a ``name`` of its own, like ``name``; ``None`` where nothing is."""
    if not isinstance(pool, Mapping):
        return None
    if name in pool:
        return pool[name]
    return next((one for one in pool.values() if isinstance(one, Mapping) and one.get("name") == name), None)


def by_name(name: str, pool: Any, where: str, key: str, mend: str = "") -> Any:
    """Return what ``name`` means.

    Raises:
        ConfigError: nothing is called so; names the nearest that is.
    """
    one = found(name, pool)
    if one is not None:
        return one
    labels = [str(label) for label in pool] if isinstance(pool, Mapping) else []
    near = difflib.get_close_matches(name, labels, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(labels) or 'none'}{mend}"
    raise ConfigError(f"{where}: {key} is {name!r}, which nothing in the file is called; {hint}")


def model(name: str, pool: Any, where: str, key: str) -> Any:
    """Return the model that a string names: one of the file's, or a served one by ``provider:/NAME``.

    Raises:
        ConfigError: it names none.

    >>> model("endpoints:/big", {}, "c.yaml", "model")
    {'name': 'big'}
    """
    one = found(name, pool)
    if one is not None:
        return one
    try:
        provider, bare = model_names.parse(name)
    except InputError as error:
        raise ConfigError(f"{where}: {key}: {error}") from None
    if provider is None and not bare.startswith(_SERVED):
        return by_name(name, pool, where, key, "; write endpoints:/NAME for a served model that is not among them")
    described = found(bare, pool)
    if isinstance(described, Mapping) and described.get("provider", "databricks") == (provider or "databricks"):
        return described
    if provider == "openai":
        return {"name": bare, "provider": "openai", "base_url": _OPENAI, "api_key": {"env": "OPENAI_API_KEY"}}
    return {"name": bare}


def prompt(text: str, pool: Any, where: str, key: str, *, unnamed: str) -> Any:
    """Return the prompt that a string names: one of the file's, a registered one by its URI, or the text itself.

    ``unnamed`` is what a text is called in the registry.

    Raises:
        ConfigError: it is none of these.

    >>> prompt("prompts:/main.sales.answer@champion", {}, "c.yaml", "prompt", unnamed="x")
    {'name': 'main.sales.answer', 'alias': 'champion'}
    >>> prompt("Answer {question}", {}, "c.yaml", "prompt", unnamed="support_prompt")
    {'name': 'support_prompt', 'default_template': 'Answer {question}'}
    """
    one = found(text, pool)
    if one is not None:
        return one
    uri = _URI.fullmatch(text.strip())
    if uri is not None:
        named = {"name": uri["name"]}
        if uri["version"]:
            return {**named, "version": int(uri["version"])}
        # Every prompt has its newest version under this alias; it need not be named.
        return named if uri["alias"] in {None, "latest"} else {**named, "alias": uri["alias"]}
    if re.search(r"[\s{]", text.strip()):
        return {"name": unnamed, "default_template": text}
    return by_name(text, pool, where, key)
