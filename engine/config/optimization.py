"""One optimization, and all of a configuration: what is rewritten, for which model, on which rows, by which rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr, field_validator, model_validator

from engine.config.datasets import DatasetModel
from engine.config.endpoints import LLMModel
from engine.config.prompts import AgentModel, PromptModel
from engine.errors import ConfigError
from engine.settings import BudgetSettings, GateSettings, JudgeCheckSettings, SearchSettings, Settings, SplitSettings

if TYPE_CHECKING:
    from engine.config.app import AppConfig

# Settings of the search may stand beside it: they did in dao-ai's shape.
SEARCH_KEYS = frozenset(SearchSettings.model_fields)
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
    _app: Any = PrivateAttr(default=None)  # the AppConfig that it stands in

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, data: Any) -> Any:
        """Bring what may stand flat to its place: the settings of the search, and ``dataset_name``."""
        if not isinstance(data, dict):
            return data
        flat = {key: data[key] for key in data if key in SEARCH_KEYS}
        rest = {key: value for key, value in data.items() if key not in SEARCH_KEYS}
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

        return optimize(self.app, self, **options)

    @property
    def app(self) -> AppConfig:
        """The configuration that this optimization stands in.

        Raises:
            ConfigError: it was made without one.
        """
        if self._app is None:
            raise ConfigError(f"optimization {self.name!r} does not belong to a configuration; use AppConfig.from_file")
        app: AppConfig = self._app
        return app


class OptimizationsModel(Settings):
    """``optimizations``: what to do, and data sets that several of them name by their key."""

    prompt_optimizations: dict[str, PromptOptimizationModel] = Field(default_factory=dict)
    training_datasets: dict[str, DatasetModel] = Field(default_factory=dict)
    budget: BudgetSettings = Field(default_factory=BudgetSettings, description="of all optimizations of a run together")

    def belong_to(self, app: AppConfig) -> None:
        """Tell every optimization which configuration it stands in; it runs with that one's storage and session."""
        for optimization in self.prompt_optimizations.values():
            optimization._app = app  # noqa: SLF001 - private to this file, not to the class

    def optimize(self, **options: Any) -> dict[str, Any]:
        """Run all optimizations; return a mapping from name to the optimized prompt with its URI.

        Several run at the same time, at most ``parallel`` at once, see :func:`engine.batch.run_batch` for this and the
        other options. Each then has a folder of its own below ``run_dir``, and one that fails does not stop the others.

        Raises:
            PromptmillError: the first failure, after all have run.
        """
        from engine.batch import optimize_all

        return optimize_all(self.prompt_optimizations, **options)
