"""The MLflow Prompt Registry: the seed and winners as versions; the population stays out of it.

Every ``register_prompt`` makes a new version, even of an unchanged text, so a text that is registered already is
looked up first. What the registry refuses is never lost: the caller keeps it as an artifact.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
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
    """Register one prompt; see :func:`register_all`. ``None`` where the registry refuses."""
    found = register_all({name: prompt}, message=message, tags=tags, aliases=aliases)
    return found[0] if found else None


def register_all(
    prompts: Mapping[str, Prompt], *, message: str, tags: Mapping[str, str], aliases: tuple[str, ...] = ()
) -> tuple[RegisteredPrompt, ...]:
    """Register each prompt as a version of its name, then set the aliases on all; return them in order.

    Prompts that belong together are promoted together: where the registry refuses one of them, none gets an alias and
    nothing is returned. A version that holds the very same prompt already is used instead of a new one. What was
    registered is read back and compared, because an alias on anything else would put an untested prompt into
    production.
    """
    try:
        found = tuple(_registered(name, prompt, message, tags) for name, prompt in prompts.items())
        for one, prompt in zip(found, prompts.values(), strict=True):
            back = mlflow.genai.load_prompt(one.uri, link_to_model=False)
            if Prompt.parse(back.template) != Prompt.parse(prompt.deployed()):
                log.error("the registry gave back another text for %s than was registered; no alias is set", one.uri)
                return ()
        _move(aliases, found)
    except Exception:
        # Registries differ and have been Beta: a result that was paid for must outlive whatever one of them raises.
        names = ", ".join(prompts)
        log.warning("the prompt %s can't be registered; it is kept in the run's artifacts", names, exc_info=True)
        return ()
    return found


def _registered(name: str, prompt: Prompt, message: str, tags: Mapping[str, str]) -> RegisteredPrompt:
    found = _same(name, prompt) or mlflow.genai.register_prompt(
        name=name, template=prompt.deployed(), commit_message=message, tags=dict(tags)
    )
    return RegisteredPrompt(name, int(found.version), f"prompts:/{name}/{found.version}")


def _move(aliases: Sequence[str], prompts: Sequence[RegisteredPrompt]) -> None:
    """Set the aliases on all prompts; where one can't be set, those that were are put back before the error goes on."""
    moved: list[tuple[str, str, int | None]] = []
    try:
        for alias in aliases:
            for one in prompts:
                before = mlflow.genai.load_prompt(
                    f"prompts:/{one.name}@{alias}", allow_missing=True, link_to_model=False, cache_ttl_seconds=0
                )
                moved.append((one.name, alias, int(before.version) if before else None))
                mlflow.genai.set_prompt_alias(name=one.name, alias=alias, version=one.version)
    except Exception:
        for name, alias, version in moved:
            with contextlib.suppress(Exception):  # the error that is under way says what is wrong
                if version is None:
                    mlflow.genai.delete_prompt_alias(name=name, alias=alias)
                else:
                    mlflow.genai.set_prompt_alias(name=name, alias=alias, version=version)
        raise


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
