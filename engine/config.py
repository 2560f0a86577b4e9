"""The configuration: dao-ai's YAML shape, and promptmill's own settings beside it.

Config is data: reading it opens no connection, reads no secret and starts nothing. Sections that are not ours (tools,
retrievers, app, …) pass unread; in ours an unknown key is an error with the nearest right one. The shape read here is
the first generation of dao-ai's optimization section; ``PromptOptimizationModel._normalise`` is the seam for the later
ones.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from engine.config_errors import explain
from engine.config_sections import (
    AgentModel,
    DatasetModel,
    KeyModel,
    LimitsModel,
    LLMModel,
    MlflowModel,
    OAuthModel,
    PriceModel,
    PromptModel,
    ResourcesModel,
    SchemaModel,
    SecretModel,
    SparkModel,
    StorageModel,
    TracesModel,
)
from engine.errors import ConfigError, PromptmillError
from engine.settings import BudgetSettings, GateSettings, JudgeCheckSettings, SearchSettings, Settings, SplitSettings
from engine.yaml_source import YamlSource, read_yaml

log = logging.getLogger(__name__)

_SEARCH_KEYS = frozenset(SearchSettings.model_fields)
# How a function is named: package.module:function.
FUNCTION = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


class PromptOptimizationModel(Settings):
    """``optimizations.prompt_optimizations.*``: one migration."""

    name: str
    prompts: tuple[PromptModel, ...] = Field(
        validation_alias="prompt", min_length=1, description="several: of a program"
    )
    predict_fn: str | None = Field(
        default=None, pattern=FUNCTION, description="package.module:function, a program as the target"
    )
    agent: AgentModel
    dataset: DatasetModel
    source_model: LLMModel | None = Field(default=None, description="asked by collect; else reflection_model is")
    reflection_model: LLMModel | None = None
    scorer_model: LLMModel | None = None
    scorers: tuple[str | dict[str, Any], ...] = ("exact_match",)
    search: SearchSettings = Field(default_factory=SearchSettings)
    split: SplitSettings = Field(default_factory=SplitSettings)
    slices: tuple[str, ...] = ()
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
    judge_check: JudgeCheckSettings = Field(default_factory=JudgeCheckSettings)
    _app: AppConfig | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, data: Any) -> Any:
        """Bring the flat keys of dao-ai's shape into ours: search settings, and ``dataset_name``."""
        if not isinstance(data, dict):
            return data
        flat = {key: data[key] for key in data if key in _SEARCH_KEYS}
        rest = {key: value for key, value in data.items() if key not in _SEARCH_KEYS}
        name = rest.pop("dataset_name", None)
        if name is not None:
            if "dataset" in rest:
                raise ValueError("gives both dataset_name and dataset; keep one of them")
            rest["dataset"] = {"name": name}
        if isinstance(rest.get("dataset"), str):
            rest["dataset"] = {"name": rest["dataset"]}
        if flat:
            nested = rest.get("search", {})
            if not isinstance(nested, dict):
                raise ValueError("search is not a mapping; write its settings beside it, or under it by name")
            rest["search"] = {**nested, **flat}
        return rest

    @field_validator("prompts", mode="before")
    @classmethod
    def _as_many(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("prompts")
    @classmethod
    def _told_apart(cls, prompts: tuple[PromptModel, ...]) -> tuple[PromptModel, ...]:
        names = [prompt.name for prompt in prompts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"names two prompts {twice!r}; a program's prompts go by their names, so rename one")
        return prompts

    @property
    def prompt(self) -> PromptModel:
        """The prompt of an optimization that has one.

        Raises:
            ConfigError: it has several.
        """
        if len(self.prompts) > 1:
            names = ", ".join(prompt.name for prompt in self.prompts)
            raise ConfigError(
                f"optimization {self.name!r}: has several prompts ({names}), and an endpoint takes one; name the "
                "program that they belong to with predict_fn: package.module:function, or keep one"
            )
        return self.prompts[0]

    def optimize(self, **options: Any) -> Any:
        """Run this optimization; see :func:`engine.migration.optimize` for the options and the result."""
        from engine.migration import optimize

        if self._app is None:
            raise ConfigError(f"optimization {self.name!r} does not belong to a configuration; use AppConfig.from_file")
        return optimize(self._app, self, **options)


class OptimizationsModel(Settings):
    """``optimizations``."""

    model_config = Settings.model_config | {"extra": "ignore"}

    prompt_optimizations: dict[str, PromptOptimizationModel] = Field(default_factory=dict)

    def optimize(self, **options: Any) -> dict[str, Any]:
        """Run all optimizations in order; return a mapping from name to the optimized prompt with its URI.

        With several, each has a folder of its own below ``run_dir``. One that fails does not stop the others.

        Raises:
            PromptmillError: the first failure, after all have run.
        """
        run_dir = options.pop("run_dir", None)
        several = len(self.prompt_optimizations) > 1
        done: dict[str, Any] = {}
        failures: list[PromptmillError] = []
        for name, optimization in self.prompt_optimizations.items():
            folder = f"{run_dir}/{name}" if run_dir and several else run_dir
            try:
                done[name] = optimization.optimize(run_dir=folder, **options).prompt
            except PromptmillError as error:
                log.exception("the optimization %s failed", name)
                failures.append(error)
        if failures:
            raise failures[0]
        return done


class AppConfig(Settings):
    """A whole configuration."""

    model_config = Settings.model_config | {"extra": "ignore"}

    resources: ResourcesModel = Field(default_factory=ResourcesModel)
    schemas: dict[str, SchemaModel] = Field(default_factory=dict)
    prompts: dict[str, PromptModel] = Field(default_factory=dict)
    agents: dict[str, AgentModel] = Field(default_factory=dict)
    optimizations: OptimizationsModel = Field(default_factory=OptimizationsModel)
    spark: SparkModel = Field(default_factory=SparkModel)
    storage: StorageModel = Field(default_factory=StorageModel)
    mlflow: MlflowModel = Field(default_factory=MlflowModel)

    @classmethod
    def from_file(cls, path: str | Path) -> AppConfig:
        """Read a configuration file.

        Raises:
            ConfigError: the file can't be read or is not a configuration; names file and line, key, value and mend.
        """
        return cls.from_source(read_yaml(path))

    @classmethod
    def from_source(cls, source: YamlSource) -> AppConfig:
        """Make a configuration of parsed YAML; see :meth:`from_file`."""
        try:
            config = cls.model_validate(_with_references(source))
        except ValidationError as error:
            raise ConfigError("\n".join(explain(error, source, _known_keys))) from None
        for optimization in config.optimizations.prompt_optimizations.values():
            optimization._app = config  # noqa: SLF001 - private to this file, not to the class
        return config


def _with_references(source: YamlSource) -> dict[str, Any]:
    """Replace agents, models and prompts that optimizations name by a string with what the name means."""
    values = dict(source.values)
    section = values.get("optimizations")
    entries = section.get("prompt_optimizations") if isinstance(section, dict) else None
    if not isinstance(entries, dict):
        return values
    agents = values.get("agents") if isinstance(values.get("agents"), dict) else {}
    resources = values.get("resources") if isinstance(values.get("resources"), dict) else {}
    llms = (resources or {}).get("llms") or (resources or {}).get("models") or {}
    resolved = {}
    for key, written in entries.items():
        entry = written
        if isinstance(written, dict):
            entry = dict(written)
            named = (("agent", agents), *((key, llms) for key in ("source_model", "reflection_model", "scorer_model")))
            for field, pool in named:
                if isinstance(entry.get(field), str):
                    at = ("optimizations", "prompt_optimizations", str(key), field)
                    entry[field] = _by_name(entry[field], pool or {}, source.where(at), ".".join(at))
            if "prompt" in entry:
                at = ("optimizations", "prompt_optimizations", str(key), "prompt")
                entry["prompt"] = _prompts_by_name(entry["prompt"], values.get("prompts"), source, at)
            if "prompt" not in entry and isinstance(entry.get("agent"), dict) and "prompt" in entry["agent"]:
                entry["prompt"] = entry["agent"]["prompt"]
        resolved[key] = entry
    values["optimizations"] = {**section, "prompt_optimizations": resolved}  # type: ignore[dict-item]
    return values


def _prompts_by_name(written: Any, pool: Any, source: YamlSource, at: tuple[str, ...]) -> Any:
    """Replace names of prompts by what ``prompts`` has under them, in a list and alone."""
    if isinstance(written, list):
        places: list[tuple[str | int, ...]] = [(*at, number) for number in range(len(written))]
        return [
            _by_name(one, pool, source.where(place), ".".join(map(str, place))) if isinstance(one, str) else one
            for one, place in zip(written, places, strict=True)
        ]
    return _by_name(written, pool, source.where(at), ".".join(at)) if isinstance(written, str) else written


def _by_name(name: str, pool: Mapping[str, Any], where: str, key: str) -> Any:
    pool = pool if isinstance(pool, Mapping) else {}
    for label, found in pool.items():
        if label == name or (isinstance(found, Mapping) and found.get("name") == name):
            return found
    names = [str(label) for label in pool]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names) or 'none'}"
    raise ConfigError(f"{where}: {key} is {name!r}, which nothing in the file is called; {hint}")


_SECTIONS: dict[str, type[Settings]] = {
    "llms": LLMModel,
    "models": LLMModel,
    "prompts": PromptModel,
    "agents": AgentModel,
    "schemas": SchemaModel,
    "prompt_optimizations": PromptOptimizationModel,
}
_FIELDS: dict[str, type[Settings]] = {
    "limits": LimitsModel,
    "price": PriceModel,
    "api_key": KeyModel,
    "oauth": OAuthModel,
    "client_secret": SecretModel,
    "dataset": DatasetModel,
    "traces": TracesModel,
    "split": SplitSettings,
    "budget": BudgetSettings,
    "gate": GateSettings,
    "prompt": PromptModel,
    "agent": AgentModel,
    "model": LLMModel,
    "source_model": LLMModel,
    "reflection_model": LLMModel,
    "scorer_model": LLMModel,
    "spark": SparkModel,
    "storage": StorageModel,
    "mlflow": MlflowModel,
}


def _known_keys(parent: tuple[Any, ...]) -> list[str]:
    """Return the keys that may stand under ``parent``."""
    named = [str(part) for part in parent if not isinstance(part, int)]
    model = _FIELDS.get(named[-1]) if named else AppConfig
    if model is None and len(named) > 1:
        model = _SECTIONS.get(named[-2])
    if model is None:
        return []
    keys = set(model.model_fields)
    if model is PromptOptimizationModel:
        keys |= _SEARCH_KEYS | {"dataset_name", "prompt"}
    return sorted(keys - {"search", "schema_", "prompts"} | ({"prompts"} if model is AppConfig else set()))


OptimizationsModel.model_rebuild()
PromptOptimizationModel.model_rebuild()
