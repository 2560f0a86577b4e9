"""The configuration: dao-ai's YAML shapes, and promptmill's own settings beside them.

Config is data: reading it opens no connection, reads no secret and starts nothing. In the order of reading:

- ``yaml_source`` parses a file and knows the line of every key; ``parameters`` puts in what ``${var.NAME}`` stands for;
- ``normal_form`` brings every shape that dao-ai has had to one: ``variables`` are resolved, ``foreign_keys`` that are
  not ours are left out, ``generations`` tell by its shape what an optimization means, ``references`` find what a name
  means; each tells what it did as ``remarks``;
- ``app`` validates that form, ``explain`` and ``known_keys`` say what is wrong with it;
- ``json_schema``, ``resolved`` and ``migrate`` serve ``promptmill config``.
"""

from engine.config.app import AppConfig
from engine.config.datasets import DatasetModel, TracesModel
from engine.config.endpoints import KeyModel, LimitsModel, LLMModel, OAuthModel, PriceModel, SecretModel
from engine.config.optimization import FUNCTION, OptimizationsModel, PromptOptimizationModel
from engine.config.places import MlflowModel, SparkModel, StorageModel
from engine.config.prompts import AgentModel, PromptModel, SchemaModel
from engine.config.yaml_source import YamlSource, parse_yaml, read_yaml

__all__ = [
    "FUNCTION",
    "AgentModel",
    "AppConfig",
    "DatasetModel",
    "KeyModel",
    "LLMModel",
    "LimitsModel",
    "MlflowModel",
    "OAuthModel",
    "OptimizationsModel",
    "PriceModel",
    "PromptModel",
    "PromptOptimizationModel",
    "SchemaModel",
    "SecretModel",
    "SparkModel",
    "StorageModel",
    "TracesModel",
    "YamlSource",
    "parse_yaml",
    "read_yaml",
]
