"""The MLflow Prompt Registry: the seed and winners as versions; the population stays out of it.

Every ``register_prompt`` makes a new version, even of an unchanged text, so a text that is registered already is
looked up first. What the registry refuses is never lost: the caller keeps it as an artifact.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from engine.errors import ConfigError
from udfs.prompt import Prompt, variables

log = logging.getLogger(__name__)

CANDIDATE, CHAMPION = "candidate", "champion"
# How many versions back an identical text is looked for.
_LOOK_BACK = 20


@dataclass(frozen=True)
class RegisteredPrompt:
    """A version in the registry."""

    name: str
    version: int
    uri: str


def load(name: str, *, alias: str | None, version: int | None) -> Prompt:
    """Load a prompt by alias or version, else its newest version.

    Raises:
        ConfigError: the registry has no such prompt.
    """
    uri = (
        f"prompts:/{name}@{alias}" if alias else f"prompts:/{name}/{version}" if version else f"prompts:/{name}@latest"
    )
    try:
        found = mlflow.genai.load_prompt(uri, link_to_model=False)
    except MlflowException as error:
        raise ConfigError(
            f"the prompt {uri} can't be loaded from the registry at {mlflow.get_registry_uri()}: {error.message}; "
            "give its template in the configuration, or mend the name"
        ) from error
    return Prompt.parse(found.template)


def load_file_or_uri(place: str) -> Prompt:
    """Load a prompt from a registry URI (``prompts:/…``) or from a text file.

    Raises:
        ConfigError: it can't be read.
    """
    if place.startswith("prompts:/"):
        try:
            return Prompt.parse(mlflow.genai.load_prompt(place, link_to_model=False).template)
        except MlflowException as error:
            raise ConfigError(f"the prompt {place} can't be loaded: {error.message}; check the URI") from error
    try:
        with open(place, encoding="utf-8") as file:  # noqa: PTH123 - a user's path, read whole
            return Prompt.parse(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the prompt file {place} can't be read: {error}; give a text file or prompts:/…") from error


def register(
    name: str, prompt: Prompt, *, message: str, tags: Mapping[str, str], aliases: tuple[str, ...] = ()
) -> RegisteredPrompt | None:
    """Register ``prompt`` as a version of ``name`` and set the aliases; return ``None`` where the registry refuses.

    A version that holds the very same prompt already is used instead of a new one. What was registered is read back
    and compared, because an alias on anything else would put an untested prompt into production.
    """
    try:
        found = _same(name, prompt) or mlflow.genai.register_prompt(
            name=name, template=prompt.deployed(), commit_message=message, tags=dict(tags)
        )
        back = mlflow.genai.load_prompt(f"prompts:/{name}/{found.version}", link_to_model=False)
        if Prompt.parse(back.template) != Prompt.parse(prompt.deployed()):
            log.error("the registry gave back another text for %s than was registered; no alias is set", found.uri)
            return None
        for alias in aliases:
            mlflow.genai.set_prompt_alias(name=name, alias=alias, version=found.version)
        return RegisteredPrompt(name, int(found.version), f"prompts:/{name}/{found.version}")
    except Exception:
        # Registries differ and have been Beta: a result that was paid for must outlive whatever one of them raises.
        log.warning("the prompt %s can't be registered; it is kept in the run's artifacts", name, exc_info=True)
        return None


def _same(name: str, prompt: Prompt) -> Any:
    newest = mlflow.genai.load_prompt(f"prompts:/{name}@latest", allow_missing=True, link_to_model=False)
    if newest is None:
        return None
    wanted = prompt.deployed()
    for version in range(int(newest.version), max(0, int(newest.version) - _LOOK_BACK), -1):
        found = mlflow.genai.load_prompt(f"prompts:/{name}/{version}", allow_missing=True, link_to_model=False)
        if found is not None and found.template == wanted:
            return found
    return None


def normalise_braces(template: str | list[dict[str, str]]) -> str | list[dict[str, str]]:
    """Turn single-brace placeholders (``{var}``, later generations of dao-ai) into ``{{var}}``.

    Only where the template has no ``{{var}}`` at all, and only around a plain name, so that JSON stays as it is.

    >>> normalise_braces("Sort {text} as {'a': 1}")
    "Sort {{text}} as {'a': 1}"
    """
    import re

    texts = [template] if isinstance(template, str) else [m.get("content", "") for m in template]
    if any(variables(text) for text in texts):
        return template
    single = re.compile(r"\{([A-Za-z_]\w*)\}")
    if isinstance(template, str):
        return single.sub(r"{{\1}}", template)
    return [{**m, "content": single.sub(r"{{\1}}", m.get("content", ""))} for m in template]
