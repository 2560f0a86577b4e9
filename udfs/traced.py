"""A trace as plain data: what a tracking server, a table of spans and a serving endpoint's table have in common.

What stands in spans' attributes is JSON text and stays so until it is asked for: of an application's spans only the
model's calls and the root are ever read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from udfs.records import parsed

LINKED_PROMPTS = "mlflow.linkedPrompts"
_INPUTS = ("mlflow.spanInputs", "gen_ai.input.messages", "input.value")
_OUTPUTS = ("mlflow.spanOutputs", "gen_ai.output.messages", "output.value")
_KIND = ("mlflow.spanType", "gen_ai.operation.name", "openinference.span.kind")
_CALLS = frozenset({"CHAT_MODEL", "LLM", "CHAT", "TEXT_COMPLETION", "GENERATE_CONTENT"})


@dataclass(frozen=True)
class TracedSpan:
    """One span; ``attributes`` hold JSON text as MLflow writes it, or what a table made of that."""

    span_id: str
    parent_id: str | None = None
    name: str = ""
    failed: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, span: Mapping[str, Any]) -> TracedSpan:
        """Make a span of the dict or struct that MLflow, its archive and OpenTelemetry's tables have for one."""
        status = span.get("status", span.get("status_code"))
        code = status.get("code", status.get("status_code")) if isinstance(status, Mapping) else status
        attributes = _mapping(span.get("attributes"))
        return cls(
            span_id=str(span.get("span_id") or _mapping(span.get("context")).get("span_id") or ""),
            parent_id=span.get("parent_span_id") or span.get("parent_id") or None,
            name=str(span.get("name") or ""),
            failed=code == 2 or str(code).endswith("ERROR"),
            attributes=attributes,
        )

    @cached_property
    def inputs(self) -> Any:
        """What the call was given, parsed."""
        return self._attribute(_INPUTS)

    @cached_property
    def outputs(self) -> Any:
        """What it gave back, parsed once: an answer that looks like JSON stays text."""
        return self._attribute(_OUTPUTS)

    @property
    def is_call(self) -> bool:
        """True for a call to a model."""
        return str(self._attribute(_KIND)).upper() in _CALLS

    def _attribute(self, names: Iterable[str]) -> Any:
        found = next((self.attributes[name] for name in names if self.attributes.get(name) is not None), None)
        return parsed(found)


@dataclass(frozen=True)
class Said:
    """One assessment: ``kind`` is ``expectation`` or ``feedback``, ``source`` HUMAN, CODE or LLM_JUDGE."""

    name: str
    kind: str
    value: Any
    source: str
    source_id: str = ""
    span_id: str | None = None
    time: str = ""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Said | None:
        """Make one of the dict or struct that MLflow and tables have for it; ``None`` for what does not count."""
        kind = next((kind for kind in ("expectation", "feedback") if found.get(kind) is not None), None)
        if kind is None or found.get("valid") is False:
            return None
        held = found[kind]
        if isinstance(held, Mapping):
            serialized = held.get("serialized_value")
            held = serialized.get("value") if isinstance(serialized, Mapping) else held.get("value")
            held = parsed(held) if isinstance(serialized, Mapping) else held
        source = _mapping(found.get("source"))
        return cls(
            name=str(found.get("assessment_name") or found.get("name") or ""),
            kind=kind,
            value=held,
            source=str(source.get("source_type") or "").rsplit(".", 1)[-1].upper(),
            source_id=str(source.get("source_id") or ""),
            span_id=found.get("span_id") or None,
            time=str(found.get("last_update_time") or found.get("create_time") or ""),
        )


@dataclass(frozen=True)
class Trace:
    """A whole application's call."""

    trace_id: str
    spans: tuple[TracedSpan, ...]
    failed: bool = False
    time_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    said: tuple[Said, ...] = ()

    @classmethod
    def of(cls, info: Mapping[str, Any], spans: Iterable[Mapping[str, Any]]) -> Trace:
        """Make a trace of ``info``, as MLflow's ``TraceInfo.to_dict`` or a table's columns have it, and its spans."""
        # Once each: tables that are written at least once may hold a span twice.
        made = tuple({span.span_id or number: span for number, span in enumerate(map(TracedSpan.of, spans))}.values())
        state = info.get("state") or info.get("status")
        root = next((span for span in made if span.parent_id is None), None)
        said = [Said.of(one) for one in info.get("assessments") or () if isinstance(one, Mapping)]
        return cls(
            trace_id=str(info.get("trace_id") or info.get("request_id") or ""),
            spans=made,
            failed=str(state).endswith("ERROR") if state else bool(root and root.failed),
            time_ms=_time_ms(info.get("request_time", info.get("timestamp_ms"))),
            tags=_mapping(info.get("tags")),
            metadata=_mapping(info.get("trace_metadata") or info.get("request_metadata")),
            said=tuple(one for one in said if one is not None),
        )

    @property
    def root(self) -> TracedSpan | None:
        """The span without a parent."""
        return next((span for span in self.spans if span.parent_id is None), None)

    def versions_of(self, prompt_name: str) -> list[str]:
        """Return the versions of a registered prompt that the application loaded for this call, as MLflow noted it."""
        notes = [self.tags.get(LINKED_PROMPTS), self.metadata.get(LINKED_PROMPTS)]
        notes += [span.attributes.get(LINKED_PROMPTS) for span in self.spans]
        found: list[str] = []
        for note in notes:
            entries = parsed(parsed(note))  # as a span's attribute it is JSON text inside JSON text
            named = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
            found += [str(entry.get("version")) for entry in named if entry.get("name") == prompt_name]
        return list(dict.fromkeys(found))


def _mapping(value: Any) -> Mapping[str, Any]:
    """The mapping, also where it comes as JSON text; an empty one for anything else."""
    found = parsed(value)
    return found if isinstance(found, Mapping) else {}


def _time_ms(value: Any) -> int | None:
    if isinstance(value, int | float):
        return int(value)
    try:
        return int(datetime.fromisoformat(str(value)).timestamp() * 1000)
    except ValueError:
        return None
