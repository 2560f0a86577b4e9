"""Prompts, the agents that answer with them, and the Unity Catalog schemas that they are named under."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field, model_validator

from engine.config.endpoints import LLMModel
from engine.settings import Settings


class SchemaModel(Settings):
    """``schemas.*``: the Unity Catalog schema that prompts and data sets are named under."""

    catalog_name: str
    schema_name: str


class PromptModel(Settings):
    """``prompts.*``: a template, as text or as chat messages, or a registered version of one.

    With an ``alias`` or a ``version`` the registry's text is meant; the template then stands in where the registry has
    none.
    """

    name: str
    schema_: SchemaModel | None = Field(default=None, validation_alias=AliasChoices("schema", "schema_"))
    description: str | None = None
    default_template: str | list[dict[str, str]] | None = Field(
        default=None,
        validation_alias=AliasChoices("default_template", "template"),
        description="a text, or chat messages of role and content, with {{variables}} or {variables}",
    )
    alias: str | None = None
    version: int | None = Field(default=None, ge=1)
    tags: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_version(self) -> PromptModel:
        if self.alias is not None and self.version is not None:
            raise ValueError("gives both an alias and a version; keep one of them")
        return self

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
