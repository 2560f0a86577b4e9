"""MLflow's prompt registry while a program runs: ``load_prompt`` answers with the candidate of the very call.

MLflow takes stores of others by the scheme of the registry's URI. Ours stands in front of the real store: a prompt that
is being optimized is answered from the context variable, all else comes from the real store. See docs/decisions/0016.

The one module of ``udfs`` that imports MLflow; it is itself imported only where a program runs that may load prompts.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import mlflow
from mlflow.entities.model_registry import Prompt as PromptInfo
from mlflow.entities.model_registry import PromptVersion
from mlflow.environment_variables import (
    MLFLOW_ALIAS_PROMPT_CACHE_TTL_SECONDS,
    MLFLOW_REGISTRY_URI,
    MLFLOW_VERSION_PROMPT_CACHE_TTL_SECONDS,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking._model_registry import utils

from udfs.in_place import Placed, placed_here, registered_prompt
from udfs.program import PromptRegistry
from udfs.prompt import Prompt

SCHEME = "promptmill"
# What MLflow's stores say of a prompt, a version or an alias that they lack.
_MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"})
_CACHES = (MLFLOW_ALIAS_PROMPT_CACHE_TTL_SECONDS, MLFLOW_VERSION_PROMPT_CACHE_TTL_SECONDS)


class CandidateStore:
    """A registry store in front of the real one, whose URI is ``promptmill:<anything>:<the real URI>``.

    It keeps what the real store answered as long as MLflow's own cache would, which is out of action meanwhile.
    Prompts that are being optimized are not written to: a candidate is no version to tag or to link.
    """

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        self._uris = (store_uri.split(":", 2)[2], tracking_uri)
        self._kept: dict[tuple[str, ...], tuple[Any, float]] = {}
        self._lock = threading.Lock()

    @property
    def _real(self) -> Any:
        """The real store; made when it is first asked for, because MLflow holds a lock while it makes this one."""
        return utils._get_store(*self._uris)  # noqa: SLF001 - there is no public way to a store

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("get_", "search_", "supports_")):
            self._kept.clear()  # it may be about to change what was kept
        return getattr(self._real, name)

    def get_prompt_version(self, name: str, version: str | int) -> Any:
        """Return the candidate of this call, or the version."""
        number = str(version)
        ttl = _STATE.version_ttl if number.isdigit() else _STATE.alias_ttl
        return self._version(name, number, lambda: self._real.get_prompt_version(name, version), ttl)

    def get_prompt_version_by_alias(self, name: str, alias: str) -> Any:
        """Return the candidate of this call, or the version that the alias points to."""
        load = lambda: self._real.get_prompt_version_by_alias(name, alias)  # noqa: E731 - shorter than a function
        return self._version(name, f"@{alias}", load, _STATE.alias_ttl)

    def get_prompt(self, name: str) -> Any:
        """Return what the registry says of a prompt; of one that is being optimized, always something."""
        found = self._remember(("prompt", name), lambda: self._real.get_prompt(name), _STATE.alias_ttl)
        if isinstance(found, MlflowException) and name not in _STATE.names:
            raise found
        if name in _STATE.names and (found is None or isinstance(found, MlflowException)):
            return PromptInfo(name=name)
        return found

    def set_prompt_tag(self, name: str, key: str, value: str) -> None:
        """Tag a prompt, unless it is being optimized: MLflow does so at each load, to link it to the experiment."""
        if name not in _STATE.names:
            self._kept.clear()
            self._real.set_prompt_tag(name, key, value)

    def link_prompt_version_to_run(self, name: str, version: str, run_id: str) -> None:
        """Link a version to a run, unless the prompt is being optimized."""
        if name not in _STATE.names:
            self._real.link_prompt_version_to_run(name, version, run_id)

    def link_prompt_version_to_model(self, name: str, version: str, model_id: str) -> None:
        """Link a version to a model, unless the prompt is being optimized."""
        if name not in _STATE.names:
            self._real.link_prompt_version_to_model(name, version, model_id)

    def link_prompts_to_trace(self, prompt_versions: list[Any], trace_id: str) -> None:
        """Link versions to a trace, but those of prompts that are being optimized."""
        if others := [version for version in prompt_versions if version.name not in _STATE.names]:
            self._real.link_prompts_to_trace(prompt_versions=others, trace_id=trace_id)

    def _version(self, name: str, what: str, load: Callable[[], Any], ttl: float) -> Any:
        candidate = registered_prompt(name)
        found = self._remember((name, what), load, ttl)
        if candidate is not None:
            real = None if isinstance(found, MlflowException) else found
            return CandidateVersion(name, int(what) if what.isdigit() else 0, candidate, real)
        if isinstance(found, MlflowException):
            raise found
        return found

    def _remember(self, key: tuple[str, ...], load: Callable[[], Any], ttl: float) -> Any:
        """Return what was kept or is loaded now; what is missing comes back as the error that says so."""
        kept = self._kept.get(key)
        if kept and time.monotonic() < kept[1]:
            return kept[0]
        with self._lock:  # of the many threads that begin at once, one asks
            kept = self._kept.get(key)
            if kept and time.monotonic() < kept[1]:
                return kept[0]
            try:
                found = load()
            except MlflowException as error:
                if error.error_code not in _MISSING:
                    raise
                found, ttl = error, min(ttl, _STATE.alias_ttl)
            self._kept[key] = (found, time.monotonic() + ttl)
        return found


class CandidateVersion(PromptVersion):  # type: ignore[misc] # mlflow is not typed
    """A candidate as MLflow's ``PromptVersion``: its text, with all else from the version that was asked for.

    One that MLflow's cache hands from call to call, because the program asks for it with ``cache_ttl_seconds``, has in
    each of them the text of that call's candidate.
    """

    def __init__(self, name: str, version: int, candidate: Prompt, real: Any) -> None:
        self._placed: Placed | None = placed_here()
        rest: dict[str, Any] = {}
        if real is not None:
            version = real.version
            rest = {
                "commit_message": real.commit_message,
                "creation_timestamp": real.creation_timestamp,
                "tags": real.tags,
                "aliases": real.aliases,
                "last_updated_timestamp": real.last_updated_timestamp,
                "user_id": real.user_id,
                "response_format": real.response_format,
                "model_config": real.model_config,
            }
        super().__init__(name, version, candidate.deployed(), **rest)

    @property
    def template(self) -> Any:
        """The candidate's text or messages."""
        other = self._of_another_call()
        return super().template if other is None else other.deployed()

    @property
    def variables(self) -> Any:
        """The candidate's placeholders."""
        other = self._of_another_call()
        return super().variables if other is None else set(other.variables)

    def _of_another_call(self) -> Prompt | None:
        return None if placed_here() is self._placed else registered_prompt(self.name)


class _State:
    """What this process had before programs ran in it, and how many run now; a process has one registry URI."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.names: Counter[str] = Counter()
        self.running = 0
        self.ours = ""
        self.uri: str | None = None
        self.ttls: list[Any] = []
        self.alias_ttl = self.version_ttl = 0.0


_STATE = _State()


def put_in_place(registry: PromptRegistry) -> None:
    """Have ``load_prompt`` of this process answer calls of programs with their candidates; see :func:`take_away`."""
    with _STATE.lock:
        _STATE.names.update(dict.fromkeys(registry.names, 1))
        _STATE.running += 1
        if _STATE.running > 1:
            return
        if not mlflow.is_tracking_uri_set():
            mlflow.set_tracking_uri(registry.tracking_uri)
        _STATE.alias_ttl, _STATE.version_ttl = (float(cache.get()) for cache in _CACHES)
        _STATE.ttls = [cache.get_raw() for cache in _CACHES]
        for cache in _CACHES:
            cache.set(0)
        _STATE.uri = utils._registry_uri  # noqa: SLF001 - only read: what was set, which get_registry_uri does not say
        real = _STATE.uri or MLFLOW_REGISTRY_URI.get() or registry.registry_uri
        # MLflow's caches, of stores and of prompts, go by the URI: a new one each time shares nothing with others.
        _STATE.ours = f"{SCHEME}:{uuid.uuid4().hex[:12]}:{real}"
        utils._get_store_registry().register(SCHEME, CandidateStore)  # noqa: SLF001 - what an entry point would call
        _set_uri(_STATE.ours)


def take_away(registry: PromptRegistry) -> None:
    """Undo :func:`put_in_place`: when the last program has ended, all is as it was before the first."""
    with _STATE.lock:
        _STATE.names -= Counter(dict.fromkeys(registry.names, 1))
        _STATE.running -= 1
        if _STATE.running:
            return
        for cache, before in zip(_CACHES, _STATE.ttls, strict=True):
            _set(cache, before)
        if utils._registry_uri == _STATE.ours:  # noqa: SLF001 - else the program has set another, which is its own affair
            _set_uri(_STATE.uri)


def _set_uri(uri: str | None) -> None:
    """Set the registry's URI for this process, but not for those that it starts, which lack our store."""
    before = MLFLOW_REGISTRY_URI.get_raw()
    mlflow.set_registry_uri(uri)
    _set(MLFLOW_REGISTRY_URI, before)


def _set(variable: Any, value: str | None) -> None:
    if value is None:
        variable.unset()
    else:
        variable.set(value)
