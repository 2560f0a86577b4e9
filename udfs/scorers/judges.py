"""Judges that ship with promptmill: equivalence, correctness and guidelines.

How they ask is in :mod:`udfs.scorers.judge_question`. The endpoint's structured output enforces the reply's shape where
there is any; the instructions say it as well, and :mod:`udfs.scorers.judge_reply` reads the reply strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from udfs.conversation import Message
from udfs.endpoint import Endpoint
from udfs.errors import InputError
from udfs.scorers.expectation import EXPECTED_FACTS, EXPECTED_RESPONSE, required, required_facts
from udfs.scorers.feedback import as_text, shorten
from udfs.scorers.judge_question import (
    DATA_RULE,
    choices,
    format_of,
    messages_about,
    object_schema,
    question_id,
    verdict_schema,
)
from udfs.scorers.judge_reply import graded, read_entry, read_object
from udfs.scorers.protocol import Score, Subject

_EQUIVALENCE = f"""\
You compare the output of a model with an expected response to the same input, and judge whether both say the same.

Judge meaning only: wording, order, style, length and formatting don't count unless the input asks for them. What \
counts is whether someone who relies on the output would come to the same answers, facts, figures, decisions and \
refusals as with the expected response. Don't judge whether the expected response is right.

{DATA_RULE}

Verdicts:
- "same": the output says what the expected response says; nothing that matters is missing, added or contradicted.
- "partly": the core is the same, but something that matters is missing or added.
- "different": the core is missing or contradicted, or the output answers something else, or nothing."""

_CORRECT_RESPONSE = f"""\
You judge whether the output of a model is a correct answer to its input. The expected response is the reference: take \
it to be right.

{DATA_RULE}

Verdicts:
- "correct": the output agrees with the reference in everything that the input asks for.
- "partly": the output is right as far as it goes, but something that the input asks for is missing or wrong.
- "incorrect": the answer contradicts the reference, or is missing."""

_CORRECT_FACTS = f"""\
You judge whether the output of a model is a correct answer to its input. The expected facts are the reference: take \
them to be right, and look for each of them in the output, in whatever words.

{DATA_RULE}

Verdicts:
- "correct": the output states or clearly implies every expected fact and contradicts none.
- "partly": the output states some of the expected facts and contradicts none.
- "incorrect": the output states none of the expected facts, or contradicts one."""

_GUIDELINES = f"""\
You judge whether the output of a model keeps guidelines. Judge each guideline by itself, by its letter and its \
evident purpose; a guideline that doesn't apply to this output is kept. Judge only the output: the input is there so \
that you can understand it.

{DATA_RULE}"""

_SHAPE = 'Reply with one JSON object and nothing else: {"rationale": "one to three sentences", "verdict": %s}'


@dataclass(frozen=True)
class EquivalenceJudge:
    """Does the output say the same as the expected response? same 1, partly 0.5, different 0.

    The judge of a model migration: the expected response is what the old model answered. ``structured`` off leaves
    ``response_format`` out, for endpoints that know none. ``output_first`` shows the output before what it is
    compared with.

    >>> judge = EquivalenceJudge(Endpoint("judge"))
    >>> judge.verdict('{"rationale": "Both say Paris.", "verdict": "same"}')
    Score(value=1.0, feedback='same: Both say Paris.', unparsable=False)
    """

    endpoint: Endpoint
    name: str = "equivalence"
    structured: bool = True
    output_first: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """The expected response."""
        return frozenset({EXPECTED_RESPONSE})

    @property
    def judge_id(self) -> str:
        """Identity of everything that shapes the question."""
        return question_id(_kind("equivalence", self.output_first), self._instructions, self.response_format)

    @property
    def verdicts(self) -> Mapping[str, float]:
        """What each verdict scores."""
        return _EQUIVALENCE_VALUES

    def swapped(self) -> EquivalenceJudge:
        """Return the same judge with the two texts in the other order."""
        return replace(self, output_first=not self.output_first)

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """A rationale, then the verdict."""
        return format_of(verdict_schema(_EQUIVALENCE_VALUES)) if self.structured else None

    def messages(self, subject: Subject) -> list[Message]:
        """Ask about one output."""
        expected = as_text(required(self.name, subject, EXPECTED_RESPONSE))
        return messages_about(
            self._instructions, subject, {"expected_response": expected}, output_first=self.output_first
        )

    def verdict(self, reply: str) -> Score:
        """Read the reply; raises CallError of kind ``JUDGE`` when it is no verdict."""
        return graded(self.name, reply, _EQUIVALENCE_VALUES)

    @property
    def _instructions(self) -> str:
        """The system message."""
        return f"{_EQUIVALENCE}\n\n{_SHAPE % choices(_EQUIVALENCE_VALUES)}"


@dataclass(frozen=True)
class CorrectnessJudge:
    """Is the output right, measured against what the row expects? correct 1, partly 0.5, incorrect 0.

    ``against`` says which expectation is the reference, the expected response or the expected facts; a row must
    have it. ``output_first`` shows the output before the reference.

    >>> sorted(CorrectnessJudge(Endpoint("judge"), against="expected_facts").needs)
    ['expected_facts']
    """

    endpoint: Endpoint
    against: Literal["expected_response", "expected_facts"] = "expected_response"
    name: str = "correctness"
    structured: bool = True
    output_first: bool = False

    def __post_init__(self) -> None:
        if self.against not in {EXPECTED_RESPONSE, EXPECTED_FACTS}:
            raise InputError(
                f"judge {self.name}: against is {self.against!r}; give {EXPECTED_RESPONSE} or {EXPECTED_FACTS}"
            )

    @property
    def needs(self) -> frozenset[str]:
        """The reference."""
        return frozenset({self.against})

    @property
    def judge_id(self) -> str:
        """Identity of everything that shapes the question."""
        return question_id(_kind("correctness", self.output_first), self._instructions, self.response_format)

    @property
    def verdicts(self) -> Mapping[str, float]:
        """What each verdict scores."""
        return _CORRECTNESS_VALUES

    def swapped(self) -> CorrectnessJudge:
        """Return the same judge with the two texts in the other order."""
        return replace(self, output_first=not self.output_first)

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """A rationale, then the verdict."""
        return format_of(verdict_schema(_CORRECTNESS_VALUES)) if self.structured else None

    def messages(self, subject: Subject) -> list[Message]:
        """Ask about one output."""
        if self.against == EXPECTED_FACTS:
            listed = "\n".join(f"- {fact}" for fact in required_facts(self.name, subject))
            return messages_about(
                self._instructions, subject, {"expected_facts": listed}, output_first=self.output_first
            )
        expected = as_text(required(self.name, subject, EXPECTED_RESPONSE))
        return messages_about(
            self._instructions, subject, {"expected_response": expected}, output_first=self.output_first
        )

    def verdict(self, reply: str) -> Score:
        """Read the reply; raises CallError of kind ``JUDGE`` when it is no verdict."""
        return graded(self.name, reply, _CORRECTNESS_VALUES)

    @property
    def _instructions(self) -> str:
        """The system message."""
        text = _CORRECT_FACTS if self.against == EXPECTED_FACTS else _CORRECT_RESPONSE
        return f"{text}\n\n{_SHAPE % choices(_CORRECTNESS_VALUES)}"


@dataclass(frozen=True)
class GuidelinesJudge:
    r"""Which of the guidelines does the output keep? The score is the share kept; one verdict for each.

    >>> import json
    >>> judge = GuidelinesJudge(Endpoint("judge"), ("Answers in one word.", "Is polite."))
    >>> reply = {"guideline_1": {"rationale": "It has nine words.", "verdict": "broken"},
    ...          "guideline_2": {"rationale": "Friendly.", "verdict": "kept"}}
    >>> judge.verdict(json.dumps(reply)).feedback
    'kept 1 of 2 guidelines; broken:\n- Answers in one word.: It has nine words.'
    """

    endpoint: Endpoint
    guidelines: tuple[str, ...]
    name: str = "guidelines"
    structured: bool = True

    def __post_init__(self) -> None:
        texts = isinstance(self.guidelines, tuple) and all(isinstance(text, str) for text in self.guidelines)
        if not texts or not self.guidelines or not all(text.strip() for text in self.guidelines):
            raise InputError(
                f"judge {self.name}: guidelines is {shorten(repr(self.guidelines), 120)}; "
                f"give a list of texts, one for each guideline"
            )
        if len(set(self.guidelines)) < len(self.guidelines):
            raise InputError(f"judge {self.name}: a guideline stands twice; leave one out or give the judge a weight")

    @property
    def needs(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    @property
    def judge_id(self) -> str:
        """Identity of everything that shapes the question, the guidelines and their order included."""
        return question_id("guidelines", self._instructions, self.response_format)

    @property
    def verdicts(self) -> Mapping[str, float]:
        """What the verdict on one guideline scores."""
        return _GUIDELINE_VALUES

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """One rationale and verdict under the key of each guideline: keys, unlike list items, can't be left out."""
        if not self.structured:
            return None
        return format_of(object_schema({key: verdict_schema(_GUIDELINE_VALUES) for key in self._keys}))

    def messages(self, subject: Subject) -> list[Message]:
        """Ask about one output, all guidelines at once."""
        return messages_about(self._instructions, subject)

    def verdict(self, reply: str) -> Score:
        """Read the reply; raises CallError of kind ``JUDGE`` unless it has a verdict for each guideline."""
        entries = read_object(self.name, reply, tuple(self._keys))
        broken = []
        for key, guideline in self._keys.items():
            rationale, verdict = read_entry(self.name, entries[key], _GUIDELINE_VALUES, f"{key}: ")
            if not _GUIDELINE_VALUES[verdict]:
                broken.append(f"- {shorten(guideline)}: {rationale}")
        total = len(self.guidelines)
        if not broken:
            return Score(1.0, "keeps every guideline")
        said = f"kept {total - len(broken)} of {total} guidelines; broken:\n"
        return Score((total - len(broken)) / total, said + "\n".join(broken))

    @property
    def _keys(self) -> dict[str, str]:
        """The guidelines by their key in the reply."""
        return {f"guideline_{number}": text for number, text in enumerate(self.guidelines, start=1)}

    @property
    def _instructions(self) -> str:
        """The system message."""
        listed = "\n".join(f"{key}: {text}" for key, text in self._keys.items())
        shape = f'{{"rationale": "one or two sentences", "verdict": {choices(_GUIDELINE_VALUES)}}}'
        return (
            f"{_GUIDELINES}\n\nThe guidelines:\n{listed}\n\n"
            f"Reply with one JSON object and nothing else. Its keys are {', '.join(self._keys)}, each once; "
            f"the value of each is {shape}"
        )


_EQUIVALENCE_VALUES = {"same": 1.0, "partly": 0.5, "different": 0.0}
_CORRECTNESS_VALUES = {"correct": 1.0, "partly": 0.5, "incorrect": 0.0}
_GUIDELINE_VALUES = {"kept": 1.0, "broken": 0.0}


def _kind(name: str, output_first: bool) -> str:
    return f"{name}, output first" if output_first else name
