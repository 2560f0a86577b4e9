"""From traces of whole applications to the rows of one prompt; runs on the driver and on executors.

A trace either is the prompt's own call (its root span has inputs by the names of the variables), or the prompt sits in
a span inside: then the values are read back out of the messages that were sent (:mod:`udfs.chat_match`), with the
template of the registered version that the trace is linked to, where it is. What no row can be made of is counted by
its reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from udfs.chat_match import CONTINUED, HISTORY, OTHER_MESSAGES, recover_from_messages
from udfs.chat_shapes import answer_of, messages_of
from udfs.conversation import MESSAGES, Message, conversation_of, flat_inputs
from udfs.prompt import placeholders
from udfs.records import BY_PERSON, RECORDED_MS
from udfs.template_match import AMBIGUOUS, MISMATCH, Unmatched
from udfs.traced import Said, Trace, TracedSpan

# A tag of a data set's record or of a trace: how many recorded inputs it stands for. `promptmill collect` writes it.
WEIGHT_TAG = "promptmill.weight"
FAILED = "failed (dataset.traces.include: errors)"
CUT = "an answer cut short (dataset.traces.include: truncated)"
NEGATIVE = "negative feedback of a person (dataset.traces.include: negative)"
TOOLS = "an answer that only asks for tools"
NO_ANSWER = "no answer that is known as one"
NO_ROOT = "their root span has no inputs by name, or no outputs"
NO_CALL = "no call to a model in them"
NOT_LINKED = "not linked to the prompt"
OTHER_VERSION = "linked to a version that the registry does not have"
LACKS = "a version of the prompt without one of the variables"
NO_TEXT = "a template of variables only, which every call would fit: set match: linked, or span"
# The reason that is told of a trace is the one of its span that came nearest.
_NEAREST = (
    *(AMBIGUOUS, HISTORY, LACKS, CUT, TOOLS, FAILED, NO_ANSWER, CONTINUED, NO_TEXT),
    *(MISMATCH, OTHER_MESSAGES, NO_CALL),
)
_DOWN = frozenset({"false", "no", "0", "down", "thumbs_down", "thumbs down", "negative"})
# Where facts are expected, an expected text beside them would be refused by MLflow's judge, or judged by twice.
_INSTEAD = frozenset({"expected_response", "expected_facts"})


@dataclass(frozen=True)
class _Call:
    """A call of the prompt; ``by_name``: its span has the inputs by the variables' names, nothing was recovered."""

    span: TracedSpan
    inputs: dict[str, Any]
    by_name: bool = False


@dataclass(frozen=True)
class TraceReading:
    """How traces become records; plain data, so that it travels.

    ``templates`` are ``(version, template)``: version ``""`` is the configured prompt, as :meth:`Prompt.deployed` gives
    it. ``match`` is ``auto``, ``root``, ``linked`` or ``template``; ``include`` names what is taken all the same of
    ``errors``, ``truncated`` and ``negative``; ``span`` is a pattern of names; ``feedback`` the names of the feedback
    that counts, all where it is empty.
    """

    variables: frozenset[str]
    prompt_name: str = ""
    templates: tuple[tuple[str, str | list[Message]], ...] = ()
    match: str = "auto"
    include: frozenset[str] = frozenset()
    span: str | None = None
    feedback: tuple[str, ...] = ()

    def records(self, trace: Trace) -> tuple[list[dict[str, Any]], str | None]:
        """Return a record for each call of the prompt in ``trace``, or none and the reason."""
        if trace.failed and "errors" not in self.include:
            return [], FAILED
        if "negative" not in self.include and self._is_rejected(trace):
            return [], NEGATIVE
        found = self._calls(trace)
        if isinstance(found, Unmatched):
            return [], found.reason
        made = [self._record(trace, call, alone=len(found) == 1) for call in found]
        good = [record for record in made if not isinstance(record, Unmatched)]
        return good, None if good else _nearest([one for one in made if isinstance(one, Unmatched)])

    def _calls(self, trace: Trace) -> list[_Call] | Unmatched:
        if self.match in {"auto", "root"}:
            spans = self._named(trace) if self.span else [span for span in [trace.root] if span]
            by_name = [
                _Call(span, dict(span.inputs), by_name=True)
                for span in spans
                if isinstance(span.inputs, Mapping)
                and span.outputs is not None
                and (self.match == "root" or self._is_own(span))
            ]
            if by_name:
                return by_name
            if self.match == "root":
                return Unmatched(NO_ROOT)
        templates = self._templates(trace)
        if isinstance(templates, Unmatched):
            return templates
        found: list[_Call] = []
        failures: list[Unmatched] = []
        for span in self._named(trace) if self.span else [span for span in trace.spans if span.is_call]:
            inputs = self._recovered(span, templates)
            if isinstance(inputs, Unmatched):
                failures.append(inputs)
            elif not _is_inside(trace, span, [call.span for call in found if call.inputs == inputs]):
                found.append(_Call(span, inputs))
        return found or Unmatched(_nearest(failures) if failures else NO_CALL)

    def _is_own(self, span: TracedSpan) -> bool:
        """True where the span's inputs are the prompt's variables, or a conversation that it is asked in.

        The messages of a call to a model are no such conversation: they hold the prompt.
        """
        if span.is_call:
            return MESSAGES not in self.variables and self.variables <= span.inputs.keys()
        return _fits(self.variables, flat_inputs(span.inputs))

    def _named(self, trace: Trace) -> list[TracedSpan]:
        return [span for span in trace.spans if fnmatchcase(span.name, self.span or "*")]

    def _templates(self, trace: Trace) -> list[str | list[Message]] | Unmatched:
        """The templates that the trace's calls may have been made of: the linked versions', else the configured one."""
        known = dict(self.templates)
        linked = trace.versions_of(self.prompt_name) if self.match != "template" and self.prompt_name else []
        found = [known[version] for version in linked if version in known]
        if found:
            return found
        if self.match == "linked":
            return Unmatched(OTHER_VERSION if linked else NOT_LINKED)
        configured = known.get("")
        if configured is None:
            return Unmatched(NO_ROOT)
        if not linked and not self.span and not _has_text(configured):
            return Unmatched(NO_TEXT)
        return [configured]

    def _recovered(self, span: TracedSpan, templates: Sequence[str | list[Message]]) -> dict[str, Any] | Unmatched:
        messages = messages_of(span.inputs)
        if messages is None:
            return Unmatched(NO_CALL)
        failures = []
        for template in templates:
            values = recover_from_messages(template, messages)
            if not isinstance(values, Unmatched):
                return values if _fits(self.variables, values) else Unmatched(LACKS)
            failures.append(values)
        return Unmatched(_nearest(failures))

    def _record(self, trace: Trace, call: _Call, *, alone: bool) -> dict[str, Any] | Unmatched:
        answer = answer_of(call.span.outputs)
        if call.span.failed and "errors" not in self.include:
            return Unmatched(FAILED)
        if answer is not None and answer.text is None and answer.calls_tools:
            return Unmatched(TOOLS)
        if answer is not None and answer.cut and "truncated" not in self.include:
            return Unmatched(CUT)
        # What a function returned is its answer, whatever it is; a model's reply must be one that is known.
        expected = answer.text if answer else None
        if call.by_name and (answer is None or conversation_of(call.inputs) is None):
            expected = expected_of(call.span.outputs)
        if expected is None:
            return Unmatched(NO_ANSWER)
        persons = self._expectations(trace, call.span, alone=alone)
        expectations = persons if persons.keys() & _INSTEAD else {"expected_response": expected, **persons}
        return {
            "inputs": json.dumps(call.inputs, default=str),
            # Not as `outputs`: a text there that happens to be JSON ("1.0", "null") would be parsed.
            "expectations": json.dumps(expectations, default=str),
            "weight": str(trace.tags.get(WEIGHT_TAG) or 1),
            "slices": json.dumps(slices_of(trace.tags)),
            "trace_id": trace.trace_id,
            BY_PERSON: int(bool(persons)),
            RECORDED_MS: trace.time_ms,
        }

    def _expectations(self, trace: Trace, span: TracedSpan, *, alone: bool) -> dict[str, Any]:
        """What people (or else programs) said is right for this call, the latest of each name.

        What is said of a whole trace is said of the prompt's call only where there is one of it.
        """
        said = [one for one in trace.said if one.kind == "expectation" and one.source != "LLM_JUDGE"]
        fits = [one for one in said if one.span_id == span.span_id or (alone and _is_of_trace(one, trace))]
        ordered = sorted(fits, key=lambda one: (one.span_id == span.span_id, one.source == "HUMAN", one.time))
        return {one.name: one.value for one in ordered}

    def _is_rejected(self, trace: Trace) -> bool:
        latest: dict[tuple[str, str], Said] = {}
        for one in sorted(trace.said, key=lambda one: one.time):
            if one.kind == "feedback" and one.source == "HUMAN" and (not self.feedback or one.name in self.feedback):
                latest[one.name, one.source_id] = one
        return any(str(one.value).strip().lower() in _DOWN | {"0.0"} for one in latest.values())


def expected_of(outputs: Any) -> Any:
    """Return the answer in a call's outputs: a text as it is, a chat completion's content, else the object.

    >>> expected_of({"choices": [{"message": {"content": "hello"}}]})
    'hello'
    """
    if isinstance(outputs, str):
        return outputs
    try:
        return outputs["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return outputs


def slices_of(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags to report by: all but those of the tools'."""
    return {key: str(value) for key, value in tags.items() if not key.startswith(("mlflow.", "promptmill."))}


def _fits(variables: frozenset[str], inputs: Mapping[str, Any]) -> bool:
    """True where the row has all variables; one may be the question of a conversation."""
    return len(variables - inputs.keys()) <= int(bool(conversation_of(inputs)) and MESSAGES not in variables)


def _nearest(failures: Sequence[Unmatched]) -> str:
    reasons = {failure.reason for failure in failures}
    return next((reason for reason in _NEAREST if reason in reasons), next(iter(sorted(reasons)), NO_CALL))


def _is_of_trace(one: Said, trace: Trace) -> bool:
    return one.span_id is None or (trace.root is not None and one.span_id == trace.root.span_id)


def _is_inside(trace: Trace, span: TracedSpan, others: Sequence[TracedSpan]) -> bool:
    """True where one of ``others`` is around ``span``: two libraries recorded the same call."""
    around = {other.span_id for other in others}
    parents = {one.span_id: one.parent_id for one in trace.spans}
    seen: set[str] = set()
    place = span.parent_id
    while place is not None and place not in seen:
        if place in around:
            return True
        seen.add(place)
        place = parents.get(place)
    return False


def _has_text(template: str | list[Message]) -> bool:
    texts = [template] if isinstance(template, str) else [message["content"] for message in template]
    return any(piece.strip() for text in texts for piece in placeholders(text)[::2])
