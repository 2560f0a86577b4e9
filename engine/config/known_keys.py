"""Which keys may stand where: for errors that name the nearest right one."""

from __future__ import annotations

from typing import Any

from engine.config.datasets import DatasetModel, TracesModel, TraceTableModel
from engine.config.endpoints import KeyModel, LimitsModel, LLMModel, OAuthModel, PriceModel, SecretModel
from engine.config.optimization import SEARCH_KEYS, OptimizationsModel, PromptOptimizationModel
from engine.config.places import MlflowModel, SparkModel, StorageModel
from engine.config.prompts import AgentModel, PromptModel, SchemaModel
from engine.settings import BudgetSettings, GateSettings, JudgeCheckSettings, Settings, SplitSettings

# The model of each value under such a key.
_SECTIONS: dict[str, type[Settings]] = {
    "llms": LLMModel,
    "models": LLMModel,
    "prompts": PromptModel,
    "agents": AgentModel,
    "schemas": SchemaModel,
    "prompt_optimizations": PromptOptimizationModel,
    "training_datasets": DatasetModel,
}
# The model of the value at such a key.
_FIELDS: dict[str, type[Settings]] = {
    "limits": LimitsModel,
    "price": PriceModel,
    "api_key": KeyModel,
    "oauth": OAuthModel,
    "client_secret": SecretModel,
    "dataset": DatasetModel,
    "traces": TracesModel,
    "trace_table": TraceTableModel,
    "inference_table": TraceTableModel,
    "split": SplitSettings,
    "budget": BudgetSettings,
    "gate": GateSettings,
    "judge_check": JudgeCheckSettings,
    "prompt": PromptModel,
    "agent": AgentModel,
    "model": LLMModel,
    "source_model": LLMModel,
    "reflection_model": LLMModel,
    "scorer_model": LLMModel,
    "schema": SchemaModel,
    "optimizations": OptimizationsModel,
    "spark": SparkModel,
    "storage": StorageModel,
    "mlflow": MlflowModel,
}
# Written otherwise than they are called in Python.
_WRITTEN = {"schema_": "schema", "prompts": "prompt"}


def known_keys(parent: tuple[Any, ...]) -> list[str]:
    """Return the keys that may stand under ``parent``, a path of keys.

    >>> known_keys(("resources", "llms", "x", "price"))
    ['completion_per_million', 'currency', 'prompt_per_million']
    """
    named = [str(part) for part in parent if not isinstance(part, int)]
    if not named:
        return []
    model = _FIELDS.get(named[-1])
    if model is None and len(named) > 1:
        model = _SECTIONS.get(named[-2])
    if model is None:
        return []
    keys = {_WRITTEN.get(key, key) for key in model.model_fields}
    if model is PromptOptimizationModel:
        keys |= SEARCH_KEYS | {"dataset_name"}
        keys.discard("search")
    return sorted(keys)
