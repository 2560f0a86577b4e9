"""The MLflow Prompt Registry: the seed and winners as versions; the population stays out of it.

Every ``register_prompt`` makes a new version, even of an unchanged text, so a text that is registered already is
looked up first. What the registry refuses is never lost: the caller keeps it as an artifact.
"""

from __future__ import annotations

import contextlib
import logging
import re
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
# What registries say where there is no such prompt, version or alias.
_LEVELS = 3
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
# Tags of Unity Catalog's: these don't stand in a key, and a value has no more characters.
_NOT_IN_KEYS, _VALUE_CHARACTERS = re.compile(r"[\s.,\-=/:]"), 256


@dataclass(frozen=True)
class RegisteredPrompt:
    """A version in the registry."""

    name: str
    version: int
    uri: str


def load_version(uri: str, *, allow_missing: bool = False, cache_ttl_seconds: float | None = None) -> Any:
    """Load a version by its URI, ``None`` where it is missing and may be.

    Through the client: ``mlflow.genai.load_prompt`` would link what it loads to whatever run is active, which in a
    notebook is the user's own.

    Raises:
        MlflowException: there is none, or the registry can't be asked.
    """
    return mlflow.MlflowClient().load_prompt(uri, allow_missing=allow_missing, cache_ttl_seconds=cache_ttl_seconds)


def load(name: str, *, alias: str | None, version: int | None) -> Prompt:
    """Load a prompt by alias or version, else its newest version.

    Raises:
        ConfigError: the registry has no such prompt.
    """
    uri = f"prompts:/{name}@{alias}" if alias else f"prompts:/{name}/{version}" if version else f"prompts:/{name}"
    try:
        number = _at_alias(name, alias) if alias else version or newest_version(name)
        found = number and load_version(f"prompts:/{name}/{number}")
    except MlflowException as error:
        raise ConfigError(_no_prompt(uri, error.message)) from error
    if not found:
        raise ConfigError(_no_prompt(uri, "there is no such version or alias"))
    return Prompt.parse(normalise_braces(found.template))


def _no_prompt(uri: str, why: str) -> str:
    return (
        f"the prompt {uri} can't be loaded from the registry at {mlflow.get_registry_uri()}: {why}; give its template "
        "in the configuration, or mend the name"
    )


def _at_alias(name: str, alias: str) -> int | None:
    """The version that an alias points to; ``None`` where there is no such alias or prompt.

    MLflow's own loading by an alias ends in an AttributeError where Unity Catalog has no such alias.

    Raises:
        MlflowException: the registry can't be asked.
    """
    try:
        found = mlflow.MlflowClient().get_prompt_version_by_alias(name, alias)
    except MlflowException as error:
        # A database says INVALID_PARAMETER_VALUE of an alias that is not there.
        if error.error_code in _MISSING or (not is_unity_catalog() and error.error_code == "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return int(found.version) if found else None


def newest_version(name: str) -> int | None:
    """Return the number of the newest version; ``None`` where there is none.

    Unity Catalog has no ``@latest``, but lists versions, which other registries don't.

    Raises:
        MlflowException: the registry can't be asked.
    """
    if not is_unity_catalog():
        found = load_version(f"prompts:/{name}@latest", allow_missing=True)
        return int(found.version) if found else None
    numbers: list[int] = []
    token = None
    try:
        while True:
            page = mlflow.MlflowClient().search_prompt_versions(name, page_token=token)
            numbers += [int(version.version) for version in getattr(page, "prompt_versions", page)]
            token = getattr(page, "next_page_token", None) or getattr(page, "token", None)
            if not token:
                return max(numbers, default=None)
    except MlflowException as error:
        if error.error_code in _MISSING:
            return None
        raise


def versions(name: str) -> dict[str, Prompt]:
    """Return the newest versions of a prompt by number, as text; none where the registry has none or can't be asked."""
    try:
        newest = newest_version(name)
        numbers = range(newest or 0, max(0, (newest or 0) - _LOOK_BACK), -1)
        found = {str(number): load_version(f"prompts:/{name}/{number}", allow_missing=True) for number in numbers}
        return {number: Prompt.parse(normalise_braces(one.template)) for number, one in found.items() if one}
    except Exception:
        # Registries differ: what can't be looked up is matched by the configured template alone.
        log.info("the versions of the prompt %s can't be read", name, exc_info=log.isEnabledFor(logging.DEBUG))
        return {}


def is_databricks(uri: str | None) -> bool:
    """True for the URI of a Databricks workspace, of its registry in Unity Catalog, too."""
    return (uri or "").split(":", 1)[0] in {"databricks", "databricks-uc"}


def is_unity_catalog() -> bool:
    """True where prompts are kept in Unity Catalog."""
    return (mlflow.get_registry_uri() or "").split(":", 1)[0] == "databricks-uc"


def load_file_or_uri(place: str) -> Prompt:
    """Load a prompt from a registry URI (``prompts:/…``) or from a text file.

    Raises:
        ConfigError: it can't be read.
    """
    if place.startswith("prompts:/"):
        name, at, alias = place.removeprefix("prompts:/").partition("@")
        if at:
            return load(name, alias=None if alias == "latest" else alias, version=None)
        try:
            found = load_version(place)
        except MlflowException as error:
            raise ConfigError(f"the prompt {place} can't be loaded: {error.message}; check the URI") from error
        if not found:
            raise ConfigError(_no_prompt(place, "there is no such version"))
        return Prompt.parse(normalise_braces(found.template))
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
            back = load_version(one.uri)
            if Prompt.parse(back.template) != Prompt.parse(prompt.deployed()):
                log.error("the registry gave back another text for %s than was registered; no alias is set", one.uri)
                return ()
        _move(aliases, found)
    except Exception:
        # Registries differ and have been Beta: a result that was paid for must outlive whatever one of them raises.
        names = ", ".join(prompts)
        hint = ""
        if is_unity_catalog() and any(name.count(".") != _LEVELS - 1 for name in prompts):
            hint = " (Unity Catalog names prompts catalog.schema.name: give the prompt a schema)"
        log.warning(
            "the prompt %s can't be registered%s; it is kept in the run's artifacts", names, hint, exc_info=True
        )
        return ()
    return found


def _registered(name: str, prompt: Prompt, message: str, tags: Mapping[str, str]) -> RegisteredPrompt:
    found = _same(name, prompt)
    if found is None:
        found = _new_version(name, prompt, message, _allowed(tags) if is_unity_catalog() else dict(tags))
    return RegisteredPrompt(name, int(found.version), f"prompts:/{name}/{found.version}")


def _new_version(name: str, prompt: Prompt, message: str, tags: dict[str, str]) -> Any:
    """Register a version; without its tags where the registry takes it, but not them."""
    try:
        return _asked_to_register(name, prompt, message, tags)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE" or not tags:
            raise
        made = _asked_to_register(name, prompt, message, {})
        log.warning("the prompt %s is registered without its tags: %s", name, error.message)
        return made


def _asked_to_register(name: str, prompt: Prompt, message: str, tags: dict[str, str]) -> Any:
    try:
        return mlflow.genai.register_prompt(
            name=name, template=prompt.deployed(), commit_message=message, tags=dict(tags)
        )
    except MlflowException as error:
        # MLflow makes prompt and version in one go, and knows one of two words for a prompt that is there already.
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or not is_unity_catalog():
            raise
        store = mlflow.MlflowClient()._get_registry_client()  # noqa: SLF001 - no public way makes a version alone
        return store.create_prompt_version(name=name, template=prompt.deployed(), description=message, tags=dict(tags))


def _allowed(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as Unity Catalog takes them: no dot and none of ``, - = / :`` in a key, values of at most 256 characters.

    >>> _allowed({"promptmill.role": "seed"})
    {'promptmill_role': 'seed'}
    """
    return {_NOT_IN_KEYS.sub("_", key): str(value)[:_VALUE_CHARACTERS] for key, value in tags.items()}


def _move(aliases: Sequence[str], prompts: Sequence[RegisteredPrompt]) -> None:
    """Set the aliases on all prompts; where one can't be set, those that were are put back before the error goes on."""
    moved: list[tuple[str, str, int | None]] = []
    try:
        for alias in aliases:
            for one in prompts:
                moved.append((one.name, alias, _at_alias(one.name, alias)))
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
    newest = newest_version(name)
    if newest is None:
        return None
    wanted = prompt.deployed()
    for version in range(newest, max(0, newest - _LOOK_BACK), -1):
        found = load_version(f"prompts:/{name}/{version}", allow_missing=True)
        if found is not None and found.template == wanted:
            return found
    return None


def normalise_braces(template: str | list[dict[str, str]]) -> str | list[dict[str, str]]:
    """Turn single-brace placeholders (``{var}``, later generations of dao-ai) into ``{{var}}``.

    Only where the template has no ``{{var}}`` at all, and only around a plain name, so that JSON stays as it is.

    >>> normalise_braces("Sort {text} as {'a': 1}")
    "Sort {{text}} as {'a': 1}"
    """
    texts = [template] if isinstance(template, str) else [m.get("content", "") for m in template]
    if any(variables(text) for text in texts):
        return template
    single = re.compile(r"\{([A-Za-z_]\w*)\}")
    if isinstance(template, str):
        return single.sub(r"{{\1}}", template)
    return [{**m, "content": single.sub(r"{{\1}}", m.get("content", ""))} for m in template]
