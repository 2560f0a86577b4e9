"""Settings of one optimization, as small frozen value objects; validated where they are made, units in the names."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# Names of the proposers, see engine.proposers.build; AUTO lets a bandit choose among them.
PROPOSERS = ("gepa", "demos", "metaprompt", "copro", "simba", "mipro")
AUTO = "auto"
# What AUTO chooses from where nothing else is named. Without mipro, which needs an extra: what a configuration means
# must not hang on what is installed.
_AUTO_PROPOSERS = ("gepa", "demos", "metaprompt", "copro", "simba")

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitSettings(Settings):
    """Shares of the rows, and the most rows that are held on the driver.

    >>> SplitSettings().holdout
    0.4
    """

    train: Share = 0.4
    val: Share = 0.2
    holdout: Share = 0.4
    max_train: int = Field(default=2000, ge=1)
    max_val: int = Field(default=300, ge=1)

    @model_validator(mode="after")
    def _sum(self) -> SplitSettings:
        total = self.train + self.val + self.holdout
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, val and holdout add up to {total:g}; make them add up to 1")
        if min(self.train, self.val, self.holdout) <= 0:
            raise ValueError("train, val and holdout each need rows; give each a share above 0")
        return self


class BudgetSettings(Settings):
    """What a search may spend, or a command that scores given prompts; ``None`` is no limit.

    A metric call is one (candidate, row) evaluation.
    """

    max_metric_calls: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
    max_duration_s: float | None = Field(default=None, gt=0)

    @property
    def is_set(self) -> bool:
        """True where anything is limited."""
        return any(limit is not None for limit in self.model_dump().values())


class GateSettings(Settings):
    """When a new prompt may replace the current one, judged on the holdout.

    ``question`` says what must be shown: ``better`` than the current prompt by more than ``min_improvement``,
    ``no_worse`` than the source model's recorded answers by ``non_inferiority_margin`` or more, or ``both``.
    """

    min_improvement: float = Field(default=0.0, ge=-1.0, le=1.0)
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    min_coverage: Share = 0.98
    max_slice_regression: Share = 0.02
    question: Literal["better", "no_worse", "both"] = "better"
    non_inferiority_margin: Share = 0.02
    worthwhile_gain: Share = Field(
        default=0.01, description="a gain that is surely less than this above min_improvement ends the race"
    )
    finalists: int = Field(default=3, ge=1, le=20, description="candidates that begin the race, the best on val")


class JudgeCheckSettings(Settings):
    """How ``promptmill judge-check`` measures judges, and below what it warns."""

    rows: int = Field(default=200, ge=2, le=10_000, description="rows of the data set whose answers are judged")
    min_agreement: Share = 0.8
    min_kappa: float = Field(default=0.6, ge=-1.0, le=1.0)


class SearchSettings(Settings):
    """How candidates are found. ``proposer`` may be one name or a list, used in turn.

    With ``auto`` in it the proposers that pay off get the slots: of all that need no extra, or of those named beside
    it.
    """

    num_candidates: int = Field(default=5, ge=1, description="proposals a step")
    num_parents: int = Field(default=2, ge=1, description="parents a step, over which its proposals are spread")
    max_steps: int = Field(default=3, ge=0)
    minibatch_size: int = Field(default=8, ge=1)
    temperature: float = Field(default=0.7, ge=0.0, le=2.0, description="of the reflection model")
    proposer: tuple[str, ...] = ("gepa",)
    num_demos: int = Field(default=8, ge=1)
    max_prompt_tokens: int = Field(default=4000, ge=16)
    # Below 1,000 there would be no room for records beside the instructions to the model.
    reflection_tokens: int = Field(default=6000, ge=1000, description="most tokens that a reflection call is shown")
    reflection_map_reduce_from: int | None = Field(
        default=None, ge=4, description="failures in a minibatch from which on they are summed up in parallel chunks"
    )
    early_stop: float = Field(
        default=0.35,
        ge=0.0,
        lt=0.5,
        description="of the candidates dropped before they were run on all of val, the share that may have come out "
        "ahead; 0 runs each on all of val",
    )
    seed: int = 0

    @field_validator("proposer")
    @classmethod
    def _known_proposers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = (*PROPOSERS, AUTO)
        if not names:
            raise ValueError(f"names none; give one or more of {', '.join(known)}")
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
                raise ValueError(f"{name!r} is not known; {hint}")
        return names

    @property
    def is_auto(self) -> bool:
        """True where a bandit chooses the proposers."""
        return AUTO in self.proposer

    @property
    def proposers(self) -> tuple[str, ...]:
        """The proposers that are made, in order.

        >>> SearchSettings(proposer=("auto", "gepa", "demos")).proposers
        ('gepa', 'demos')
        """
        named = tuple(name for name in self.proposer if name != AUTO)
        return named or _AUTO_PROPOSERS

    @property
    def asks_reflection(self) -> bool:
        """True where a proposer asks the reflection model."""
        return any(name != "demos" for name in self.proposers)

    @model_validator(mode="before")
    @classmethod
    def _one_proposer(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("proposer"), str):
            return {**data, "proposer": (data["proposer"],)}
        return data
