"""What a scorer is: the protocols, what they see, and what they return.

Scores go from 0 to 1 and higher is better. A scorer is plain picklable data with a method: it is made on the driver
and used in the worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from udfs.conversation import Message
from udfs.endpoint import Endpoint


@dataclass(frozen=True)
class Subject:
    """What is scored: one row's inputs, the model's output, and the row's expectations (may be empty)."""

    inputs: Mapping[str, Any]
    output: str
    expectations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """A value from 0 to 1 (higher is better) and what a person or a reflecting model can learn from it.

    ``unparsable`` marks an output that could not be read at all, such as broken JSON: it still scores ``value``.
    """

    value: float
    feedback: str = ""
    unparsable: bool = False


@runtime_checkable
class Scorer(Protocol):
    """Scores an output by computing; must be deterministic."""

    @property
    def name(self) -> str:
        """The scorer's name, unique within a mix."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Keys of ``expectations`` without which a row can't be scored; checked before the first call."""
        ...

    def score(self, subject: Subject) -> Score:
        """Return the score; raise only for a defect of the scorer or of the row, never for a bad output."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Scores an output by asking an LLM; the engine makes the call, retries it, and keeps the verdict."""

    @property
    def name(self) -> str:
        """The judge's name, unique within a mix."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Keys of ``expectations`` without which a row can't be judged."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that is asked."""
        ...

    @property
    def judge_id(self) -> str:
        """Identity of the judge's instructions: a verdict is kept under it and the endpoint's identity."""
        ...

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """The ``response_format`` of the request, ``None`` where the endpoint has no structured output."""
        ...

    def messages(self, subject: Subject) -> list[Message]:
        """Return what the judge is asked about ``subject``."""
        ...

    def verdict(self, reply: str) -> Score:
        """Parse the judge's reply strictly.

        Raises:
            CallError: of kind ``JUDGE`` when the reply is not a verdict; the engine asks again, then leaves the row
                unscored.
        """
        ...


@runtime_checkable
class Comparing(Judge, Protocol):
    """A judge that compares the output with another text: its verdict must not depend on which one comes first."""

    def swapped(self) -> Comparing:
        """Return the same judge with the two texts in the other order; it has a ``judge_id`` of its own."""
        ...


@runtime_checkable
class Graded(Judge, Protocol):
    """A judge whose verdicts have names."""

    @property
    def verdicts(self) -> Mapping[str, float]:
        """What each named verdict scores, from 0 to 1."""
        ...


@dataclass(frozen=True)
class Weighted:
    """A scorer or judge and its weight in the mean."""

    scorer: Scorer | Judge
    weight: float = 1.0
