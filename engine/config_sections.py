"""The sections of a configuration: endpoints, prompts, agents, data sets, and where things run and are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from engine.settings import Settings
from udfs.endpoint import Endpoint, Limits, Price, Sampling
from udfs.errors import InputError
from udfs.keys import ApiKey, KeyFile, OAuthClient, SecretFromEnv


def resolve_variable(value: Any) -> Any:
    """Resolve a dao-ai variable (``env``, ``value``, ``options``, ``default_value``) to its value.

    >>> resolve_variable({"options": [{"env": "SURELY_NOT_SET_ANYWHERE"}, "fallback"]})
    'fallback'
    """
    if not isinstance(value, Mapping):
        return value
    if "options" in value:
        if not isinstance(value["options"], list):
            raise ValueError("options is not a list; give the variables to try in order")
        found = next((v for v in map(resolve_variable, value["options"]) if v is not None), None)
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


class SecretModel(Settings):
    """The variable that holds a secret; never the secret."""

    env: str


class OAuthModel(Settings):
    """``api_key.oauth``: a client of an OAuth 2.0 server, which gets tokens that expire."""

    token_url: str
    client_id: str
    client_secret: SecretModel
    scope: str | None = None

    @field_validator("token_url", "client_id", "scope", mode="before")
    @classmethod
    def _variables(cls, value: Any) -> Any:
        return resolve_variable(value)

    @field_validator("client_secret", mode="before")
    @classmethod
    def _no_literal_secret(cls, value: Any) -> Any:
        return _no_literal(value)

    @model_validator(mode="after")
    def _usable(self) -> OAuthModel:
        try:
            self.client()
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def client(self) -> OAuthClient:
        """Return the client's descriptor."""
        return OAuthClient(self.token_url, self.client_id, SecretFromEnv(self.client_secret.env), self.scope)


class KeyModel(Settings):
    """Where an endpoint's key is found, never a literal: exactly one of the three."""

    env: str | None = None
    oauth: OAuthModel | None = None
    file: str | None = Field(default=None, min_length=1)

    @field_validator("file", mode="before")
    @classmethod
    def _variables(cls, value: Any) -> Any:
        return resolve_variable(value)

    @model_validator(mode="after")
    def _one_place(self) -> KeyModel:
        given = [key for key in ("env", "oauth", "file") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"names {' and '.join(given) or 'no place'}; give one of env, oauth or file")
        return self

    def key(self) -> ApiKey:
        """Return the key's descriptor."""
        if self.oauth is not None:
            return self.oauth.client()
        return KeyFile(self.file) if self.file is not None else SecretFromEnv(self.env or "")


def _no_literal(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("a literal key stands here; write {env: NAME} and set that variable")  # noqa: TRY004 - pydantic's
    return value


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
        return resolve_variable(value)

    @field_validator("api_key", mode="before")
    @classmethod
    def _no_literal_key(cls, value: Any) -> Any:
        return _no_literal(value)

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
            api_key=self.api_key.key() if self.api_key else _databricks_key(self.provider),
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
        return resolve_variable(value)


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


class TraceReadingModel(Settings):
    """How the prompt's calls are found in traces of whole applications; see :class:`udfs.trace_rows.TraceReading`."""

    match: Literal["auto", "root", "linked", "template"] = "auto"
    include: list[Literal["errors", "truncated", "negative"]] = Field(default_factory=list)
    span: str | None = Field(default=None, min_length=1)
    feedback: list[str] = Field(default_factory=list)
    filter: str | None = None
    max_traces: int | None = Field(default=None, ge=1)


class TracesModel(TraceReadingModel):
    """MLflow traces as a source of rows; ``filter`` is MLflow's."""

    experiment: str | None = None
    run_id: str | None = None


class TraceTableModel(TraceReadingModel):
    """A table of traces or of a serving endpoint's requests as a source of rows; ``filter`` is a condition in SQL."""

    name: str = Field(min_length=1)


_SOURCES = ("table", "path", "traces", "trace_table", "inference_table", "data")
DATASET_SOURCES = "name, table, path, traces, trace_table, inference_table or data"


class DatasetModel(Settings):
    """Where rows come from: exactly one of the sources."""

    name: str | None = None
    table: str | None = None
    path: str | None = None
    traces: TracesModel | None = None
    trace_table: TraceTableModel | None = None
    inference_table: TraceTableModel | None = None
    data: list[dict[str, Any]] | None = None

    @field_validator("trace_table", "inference_table", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> DatasetModel:
        given = [key for key in _SOURCES if getattr(self, key) is not None]
        if len(given) > 1 or not (given or self.name):
            raise ValueError(f"names {' and '.join(given) or 'no source'}; give one of {DATASET_SOURCES}")
        return self


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
