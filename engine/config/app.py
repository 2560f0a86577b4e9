"""A whole configuration: read, brought to its normal form, validated."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from engine.config.endpoints import ResourcesModel
from engine.config.entries import Reading
from engine.config.explain import explain
from engine.config.known_keys import known_keys
from engine.config.normal_form import normal_form
from engine.config.optimization import OptimizationsModel
from engine.config.places import MlflowModel, SparkModel, StorageModel
from engine.config.prompts import AgentModel, PromptModel, SchemaModel
from engine.config.yaml_source import YamlSource, read_yaml
from engine.errors import ConfigError
from engine.settings import Settings

log = logging.getLogger(__name__)


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
    _reading: Reading = PrivateAttr(default_factory=Reading)

    @classmethod
    def from_file(cls, path: str | Path, params: Mapping[str, Any] | None = None) -> AppConfig:
        """Read a configuration file; ``params`` are what ``${var.NAME}`` stands for in it.

        How the file was understood is logged; it is in :attr:`reading`, too.

        Raises:
            ConfigError: the file can't be read or is not a configuration; names file and line, key, value and mend.
        """
        config = cls.from_source(read_yaml(path, params))
        for remark in config.reading.remarks:
            log.log(logging.WARNING if remark.kind == "warning" else logging.INFO, "%s", remark)
        return config

    @classmethod
    def from_source(cls, source: YamlSource) -> AppConfig:
        """Make a configuration of parsed YAML; see :meth:`from_file`. Logs nothing."""
        values, reading = normal_form(source)
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            lines = explain(error, source, known_keys)
            # What is wrong may be that a variable is not set, which is only a warning where nothing is missing.
            lines += [
                str(remark)
                for remark in reading.remarks
                if remark.kind == "warning" and any(line.startswith(f"{remark.where}: ") for line in lines)
            ]
            raise ConfigError("\n".join(lines)) from None
        config._reading = reading  # noqa: SLF001 - its own, of the class that makes it
        config.optimizations.belong_to(config)
        return config

    @property
    def reading(self) -> Reading:
        """How the file was understood: the generation of each optimization's shape, notes and warnings."""
        return self._reading
