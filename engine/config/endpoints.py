"""Model endpoints: what they are called, where they stand, their keys, their limits and their price."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from engine.settings import Settings
from udfs.endpoint import Endpoint, Limits, Price, Sampling
from udfs.errors import InputError
from udfs.keys import ApiKey, FirstSecret, KeyFile, OAuthClient, SecretFromEnv, SecretPlace, SecretScope, WorkspaceLogin


class LimitsModel(Settings):
    """``resources.llms.*.limits``: promises for the whole cluster."""

    max_concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=60.0, gt=0)
    deadline_s: float = Field(default=300.0, gt=0)
    max_attempts: int = Field(default=10, ge=1)
    warm_up_s: float | None = Field(default=None, ge=0)


class PriceModel(Settings):
    """``resources.llms.*.price``: per million tokens."""

    prompt_per_million: float = Field(default=0.0, ge=0)
    completion_per_million: float = Field(default=0.0, ge=0)
    currency: str = "USD"


class SecretModel(Settings):
    """Where a secret is found, never the secret: a variable, a Databricks secret scope, or the first of several."""

    env: str | None = None
    scope: str | None = None
    secret: str | None = Field(default=None, description="the secret's key in its scope")
    options: tuple[SecretModel, ...] = Field(default=(), description="tried in order")

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, data: Any) -> Any:
        # The message repeats nothing: what stands here may well be a key that works.
        if not isinstance(data, dict) or data.get("value") is not None or data.get("default_value") is not None:
            raise ValueError("a literal key stands here; write {env: NAME} and set that variable")
        return {key: one for key, one in data.items() if not (key in {"value", "default_value"} and one is None)}

    @model_validator(mode="after")
    def _one_place(self) -> SecretModel:
        if (self.scope is None) != (self.secret is None):
            raise ValueError("gives one of scope and secret; give both")
        given = self._places()
        if len(given) != 1:
            raise ValueError(f"names {' and '.join(given) or 'no place'}; give one of {self._known_places()}")
        return self

    def _places(self) -> list[str]:
        return [
            name
            for name, given in (("env", self.env), ("scope", self.scope), ("options", self.options or None))
            if given is not None
        ]

    @staticmethod
    def _known_places() -> str:
        return "env, scope with secret, or options"

    def place(self) -> SecretPlace:
        """Return the secret's descriptor."""
        if self.options:
            return FirstSecret(tuple(option.place() for option in self.options))
        if self.scope is not None and self.secret is not None:
            return SecretScope(self.scope, self.secret)
        return SecretFromEnv(self.env or "")


class OAuthModel(Settings):
    """``api_key.oauth``: a client of an OAuth 2.0 server, which gets tokens that expire."""

    token_url: str
    client_id: str | SecretModel
    client_secret: SecretModel
    scope: str | None = None

    @model_validator(mode="after")
    def _usable(self) -> OAuthModel:
        try:
            self.client()
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def client(self) -> OAuthClient:
        """Return the client's descriptor."""
        client_id = self.client_id if isinstance(self.client_id, str) else self.client_id.place()
        return OAuthClient(self.token_url, client_id, self.client_secret.place(), self.scope)


class KeyModel(SecretModel):
    """Where an endpoint's key is found, never a literal: exactly one of the places."""

    oauth: OAuthModel | None = None
    file: str | None = Field(default=None, min_length=1)

    def _places(self) -> list[str]:
        own = [name for name in ("oauth", "file") if getattr(self, name) is not None]
        return super()._places() + own

    @staticmethod
    def _known_places() -> str:
        return "env, oauth, file, scope with secret, or options"

    def key(self) -> ApiKey:
        """Return the key's descriptor."""
        if self.oauth is not None:
            return self.oauth.client()
        return KeyFile(self.file) if self.file is not None else self.place()


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
    limits: LimitsModel = Field(default_factory=LimitsModel)
    price: PriceModel | None = None
    task: str | None = Field(default=None, description="what a Databricks endpoint serves; else the workspace is asked")

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
            base_url=self.base_url or "",
            api_key=self.api_key.key() if self.api_key else _default_key(self.provider),
            sampling=Sampling(
                temperature=self.temperature if temperature is None else temperature,
                max_tokens=self.max_tokens,
                top_p=self.top_p,
                seed=self.seed,
                extra=self.extra,
            ),
            limits=Limits(**self.limits.model_dump()),
            price=Price(**self.price.model_dump()) if self.price else None,
            task=self.task,
        )


def _default_key(provider: str) -> WorkspaceLogin | None:
    return WorkspaceLogin() if provider == "databricks" else None


class ResourcesModel(Settings):
    """``resources``; only ``llms`` (or ``models``) is read."""

    model_config = Settings.model_config | {"extra": "ignore"}

    llms: dict[str, LLMModel] = Field(default_factory=dict, validation_alias=AliasChoices("llms", "models"))
