"""The configuration: dao-ai's YAML shape, and promptmill's own settings beside it.

Config is data: reading it opens no connection, reads no secret and starts nothing. Sections that are not ours (tools,
retrievers, app, …) pass unread; in ours an unknown key is an error with the nearest right one. The shape read here is
the first generation of dao-ai's optimization section; :func:`_normalise` is the seam for the later ones.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, PrivateAttr, ValidationError, field_validator, model_validator

from engine.errors import ConfigError
from engine.settings import BudgetSettings, GateSettings, SearchSettings, Settings, SplitSettings
from engine.yaml_source import YamlSource, read_yaml
from udfs.endpoint import Endpoint, Limits, Price, Sampling, SecretFromEnv


def _resolve(value: Any) -> Any:
    """Resolve a dao-ai variable (``env``, ``value``, ``options``, ``default_value``) to its value.

    >>> _resolve({"options": [{"env": "SURELY_NOT_SET_ANYWHERE"}, "fallback"]})
    'fallback'
    """
    if not isinstance(value, Mapping):
        return value
    if "options" in value:
        found = next((v for v in map(_resolve, value["options"]) if v is not None), None)
    elif "env" in value:
        found = os.environ.get(str(value["env"]))
    elif "value" in value:
        found = value["value"]
    else:
        return value
    return value.get("default_value") if found is None else found


class LimitsModel(Settings):
    """``resources.llms.*.limits``: promises for the whole cluster."""

    max_concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=60.0, gt=0)
    deadline_s: float = Field(default=300.0, gt=0)
    max_attempts: int = Field(default=10, ge=1)


class PriceModel(Settings):
    """``resources.llms.*.price``: per million tokens."""

    prompt_per_million: float = Field(default=0.0, ge=0)
    completion_per_million: float = Field(default=0.0, ge=0)
    currency: str = "USD"


class KeyModel(Settings):
    """Where an endpoint's key is found; never a literal."""

    env: str


class LLMModel(Settings):
    """``resources.llms.*``: one endpoint. ``extra`` goes into the request body as it is."""

    name: str
    description: str | None = None
    provider: Literal["databricks", "openai"] = "databricks"
    base_url: str | None = None
    api_key: KeyModel | None = None
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    fallbacks: list[Any] = Field(default_factory=list)
    limits: LimitsModel = Field(default_factory=LimitsModel)
    price: PriceModel | None = None

    @field_validator("name", "base_url", "provider", "temperature", "max_tokens", mode="before")
    @classmethod
    def _variables(cls, value: Any) -> Any:
        return _resolve(value)

    @field_validator("api_key", mode="before")
    @classmethod
    def _no_literal_key(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("a literal key stands here; write {env: NAME} and set that variable")  # noqa: TRY004 - pydantic's
        return value

    @model_validator(mode="after")
    def _openai_needs_a_place(self) -> LLMModel:
        if self.provider == "openai" and not self.base_url:
            raise ValueError("provider openai needs base_url, such as http://127.0.0.1:8000/v1")
        return self

    def endpoint(self, *, temperature: float | None = None) -> Endpoint:
        """Return the endpoint's descriptor; ``temperature`` overrides the configured one."""
        return Endpoint(
            name=self.name,
            provider=self.provider,
            base_url=self.base_url or os.environ.get("DATABRICKS_HOST", ""),
            api_key=SecretFromEnv(self.api_key.env) if self.api_key else _databricks_key(self.provider),
            sampling=Sampling(
                temperature=self.temperature if temperature is None else temperature,
                max_tokens=self.max_tokens,
                top_p=self.top_p,
                seed=self.seed,
                extra=self.extra,
            ),
            limits=Limits(**self.limits.model_dump()),
            price=Price(**self.price.model_dump()) if self.price else None,
        )


def _databricks_key(provider: str) -> SecretFromEnv | None:
    return SecretFromEnv("DATABRICKS_TOKEN") if provider == "databricks" else None


class SchemaModel(Settings):
    """``schemas.*``: the Unity Catalog schema that prompts and data sets are named under."""

    catalog_name: str
    schema_name: str
    permissions: list[Any] = Field(default_factory=list)

    @field_validator("catalog_name", "schema_name", mode="before")
    @classmethod
    def _variables(cls, value: Any) -> Any:
        return _resolve(value)


class PromptModel(Settings):
    """``prompts.*``: a template, as text or as chat messages, or a registered version of one."""

    name: str
    schema_: SchemaModel | None = Field(default=None, validation_alias=AliasChoices("schema", "schema_"))
    description: str | None = None
    default_template: str | list[dict[str, str]] | None = Field(
        default=None, validation_alias=AliasChoices("default_template", "template")
    )
    alias: str | None = None
    version: int | None = None
    tags: dict[str, Any] = Field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The name in the prompt registry."""
        if self.schema_ is None:
            return self.name
        return f"{self.schema_.catalog_name}.{self.schema_.schema_name}.{self.name}"


class AgentModel(Settings):
    """``agents.*``: the model and the prompt it answers with; an agent's other keys pass unread."""

    model_config = Settings.model_config | {"extra": "ignore"}

    name: str
    model: LLMModel
    prompt: PromptModel | str | None = None


class TracesModel(Settings):
    """MLflow traces as a source of rows."""

    experiment: str | None = None
    run_id: str | None = None
    filter: str | None = None
    max_traces: int | None = Field(default=None, ge=1)


class DatasetModel(Settings):
    """Where rows come from: exactly one of the sources."""

    name: str | None = None
    table: str | None = None
    path: str | None = None
    traces: TracesModel | None = None
    data: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DatasetModel:
        given = [key for key in ("table", "path", "traces", "data") if getattr(self, key) is not None]
        if len(given) > 1 or not (given or self.name):
            raise ValueError(
                f"names {' and '.join(given) or 'no source'}; give one of name, table, path, traces or data"
            )
        return self


_SEARCH_KEYS = frozenset(SearchSettings.model_fields)


class PromptOptimizationModel(Settings):
    """``optimizations.prompt_optimizations.*``: one migration."""

    name: str
    prompt: PromptModel
    agent: AgentModel
    dataset: DatasetModel
    reflection_model: LLMModel | None = None
    scorer_model: LLMModel | None = None
    scorers: tuple[str | dict[str, Any], ...] = ("exact_match",)
    search: SearchSettings = Field(default_factory=SearchSettings)
    split: SplitSettings = Field(default_factory=SplitSettings)
    slices: tuple[str, ...] = ()
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
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
            rest["search"] = {**rest.get("search", {}), **flat}
        return rest

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
        """Run all optimizations in order; return a mapping from name to the optimized prompt with its URI."""
        return {
            name: optimization.optimize(**options).prompt
            for name, optimization in self.prompt_optimizations.items()
        }


class SparkModel(Settings):
    """``spark``: used only where no session exists yet."""

    master: str = "local[*]"
    remote: str | None = None
    conf: dict[str, str] = Field(default_factory=dict)


class StorageModel(Settings):
    """``storage``: where ledger and runs are kept."""

    root: str = ".promptmill"


class MlflowModel(Settings):
    """``mlflow``: the tracking store and the experiment."""

    tracking_uri: str | None = None
    experiment: str = "promptmill"


class ResourcesModel(Settings):
    """``resources``; only ``llms`` (or ``models``) is read."""

    model_config = Settings.model_config | {"extra": "ignore"}

    llms: dict[str, LLMModel] = Field(default_factory=dict, validation_alias=AliasChoices("llms", "models"))


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
            raise ConfigError("\n".join(_explain_all(error, source))) from None
        for optimization in config.optimizations.prompt_optimizations.values():
            optimization._app = config
        return config


def _with_references(source: YamlSource) -> dict[str, Any]:
    """Replace agents and models that optimizations name by a string with what the name means."""
    values = dict(source.values)
    section = values.get("optimizations")
    entries = section.get("prompt_optimizations") if isinstance(section, dict) else None
    if not isinstance(entries, dict):
        return values
    agents = values.get("agents") if isinstance(values.get("agents"), dict) else {}
    resources = values.get("resources") if isinstance(values.get("resources"), dict) else {}
    llms = (resources or {}).get("llms") or (resources or {}).get("models") or {}
    resolved = {}
    for key, entry in entries.items():
        if isinstance(entry, dict):
            entry = dict(entry)
            for field, pool in (("agent", agents), ("reflection_model", llms), ("scorer_model", llms)):
                if isinstance(entry.get(field), str):
                    at = ("optimizations", "prompt_optimizations", str(key), field)
                    entry[field] = _by_name(entry[field], pool or {}, source.where(at), ".".join(at))
            if "prompt" not in entry and isinstance(entry.get("agent"), dict) and "prompt" in entry["agent"]:
                entry["prompt"] = entry["agent"]["prompt"]
        resolved[key] = entry
    values["optimizations"] = {**section, "prompt_optimizations": resolved}  # type: ignore[dict-item]
    return values


def _by_name(name: str, pool: Mapping[str, Any], where: str, key: str) -> Any:
    for label, found in pool.items():
        if label == name or (isinstance(found, Mapping) and found.get("name") == name):
            return found
    names = [str(label) for label in pool]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names) or 'none'}"
    raise ConfigError(f"{where}: {key} is {name!r}, which nothing in the file is called; {hint}")


def _explain_all(error: ValidationError, source: YamlSource) -> list[str]:
    """One line a defect: an anchor's defect shows wherever it is used, but is told once."""
    told: dict[str, str] = {}
    for found in error.errors():
        where, key, text = _explain(found, source)
        told.setdefault(f"{where} {key.rpartition('.')[2]} {text}", f"{where}: {key}{text}")
    return list(told.values())


def _explain(error: Any, source: YamlSource) -> tuple[str, str, str]:
    """Turn one of pydantic's errors into file and line, key, and what is wrong with its value and how to mend it."""
    location = tuple(part for part in error["loc"] if part not in {"search", "schema_"})
    # Branches of a union stand in the location as type names; they are no keys of the file.
    while location and source.lines and location not in source.lines and location[:-1] in source.lines:
        if error["type"] in {"missing", "extra_forbidden"}:
            break
        location = location[:-1]
    key = ".".join(str(part) for part in location) or "the configuration"
    where = source.where(location)
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return where, key, f" is not a known key; {hint}"
    if error["type"] == "missing":
        mend = "give one of name, table, path, traces or data" if location[-1] == "dataset" else "add it"
        return where, key, f" is missing; {mend}"
    value = error.get("input")
    # A literal key is a mistake, but it may well be a real key: it is never repeated.
    secret = "api_key" in location
    shown = f" is {value!r}:" if not secret and (value is None or isinstance(value, str | int | float)) else ":"
    return where, key, f"{shown} {error['msg'].removeprefix('Value error, ')}"


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
    "dataset": DatasetModel,
    "traces": TracesModel,
    "split": SplitSettings,
    "budget": BudgetSettings,
    "gate": GateSettings,
    "prompt": PromptModel,
    "agent": AgentModel,
    "model": LLMModel,
    "reflection_model": LLMModel,
    "scorer_model": LLMModel,
    "spark": SparkModel,
    "storage": StorageModel,
    "mlflow": MlflowModel,
}


def _known_keys(parent: tuple[Any, ...]) -> list[str]:
    """Return the keys that may stand under ``parent``."""
    named = [str(part) for part in parent]
    model = _FIELDS.get(named[-1]) if named else AppConfig
    if model is None and len(named) > 1:
        model = _SECTIONS.get(named[-2])
    if model is None:
        return []
    keys = set(model.model_fields)
    if model is PromptOptimizationModel:
        keys |= _SEARCH_KEYS | {"dataset_name"}
    return sorted(keys - {"search", "schema_"})


OptimizationsModel.model_rebuild()
PromptOptimizationModel.model_rebuild()
