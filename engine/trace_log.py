"""Writing many MLflow traces at once: answers that no tracing decorator saw, because executors gave them.

MLflow's own way to log a finished trace, ``mlflow.log_trace``, takes about 46 ms each on SQLite; its trace exporter
writes through ``TracingClient().log_spans``, which takes the spans of many traces in one call (250 traces/s with their
links to a run, on two busy cores). That class is not documented, so it is used in this file only, and never believed:
the first batch is read back, and where it is not there as written, traces are logged one by one instead.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

log = logging.getLogger(__name__)

# MLflow refuses to link more traces than this to a run in one call.
_LINKED_A_CALL = 100
# Names that MLflow's pages, token counts and search know.
_INPUTS, _OUTPUTS, _SPAN_TYPE = "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType"
_MODEL, _USAGE = "mlflow.llm.model", "mlflow.chat.tokenUsage"
_TRACE_ID, _TAG_PREFIX = "mlflow.traceRequestId", "mlflow.traceTag."
# What a span that MLflow did not start has for a trace id.
_NO_OP = "MLFLOW_NO_OP_SPAN_TRACE_ID"


@dataclass(frozen=True)
class AnswerTrace:
    """One answered call, as a trace of one root span.

    ``key`` is its identity: the same key is the same trace, so that a batch written again changes nothing. ``inputs``
    are the template's variables, ``attributes`` the span's own (any JSON), ``tags`` the trace's.
    """

    key: str
    inputs: Mapping[str, Any]
    output: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float = 0.0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        """The trace's id when it is written in bulk; MLflow gives another one where that is not possible.

        >>> AnswerTrace("run/row", {"q": "?"}, "!", "m").trace_id
        'tr-f46b2ed05125c0b5f306290b10e732f3'
        """
        return f"tr-{_digest(self.key)[:16].hex()}"


class TraceLog:
    """Writes traces into an experiment and links them to a run; not thread-safe.

    Whether the bulk path works is found out with the first batch, for the life of this object.
    """

    def __init__(
        self,
        experiment_id: str,
        *,
        name: str,
        run_id: str | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.experiment_id = experiment_id
        self.run_id = run_id
        self._name = name
        self._clock_ns = clock_ns
        self._client = mlflow.MlflowClient()
        self._write: Callable[[Sequence[AnswerTrace]], list[str]] | None = None

    def write(self, traces: Sequence[AnswerTrace]) -> list[str]:
        """Write traces and return their ids, in order; when this returns, they can be searched.

        Raises:
            MlflowException: the store can't take them. What can't be linked to the run is only warned of.
        """
        if not traces:
            return []
        ids = self._first_batch(traces) if self._write is None else self._write(traces)
        self._link(ids)
        return ids

    def _first_batch(self, traces: Sequence[AnswerTrace]) -> list[str]:
        try:
            ids = self._in_bulk(traces)
            lacking = self._lacking(traces)
        except Exception as error:
            # Undocumented: another version or another store may raise anything, and the slow way is still there.
            why = f"{type(error).__name__}: {error}"
        else:
            if not lacking:
                self._write = self._in_bulk
                return ids
            why = f"what is read back differs from {lacking[0].trace_id}, which was written"
        log.warning(
            "MLflow %s at %s can't take traces in bulk (%s); they are logged one by one, which takes some 50 ms each",
            mlflow.__version__,
            mlflow.get_tracking_uri(),
            why,
        )
        self._remove([trace.trace_id for trace in traces])
        self._write = self._one_by_one
        return self._one_by_one(traces)

    def _in_bulk(self, traces: Sequence[AnswerTrace]) -> list[str]:
        from mlflow.entities.span import Span
        from mlflow.tracing.client import TracingClient

        now = self._clock_ns()
        spans = [Span.from_dict(_span(trace, self._name, now)) for trace in traces]
        TracingClient().log_spans(self.experiment_id, spans)
        return [trace.trace_id for trace in traces]

    def _one_by_one(self, traces: Sequence[AnswerTrace]) -> list[str]:
        now = self._clock_ns()
        ids = []
        for trace in traces:
            span = mlflow.start_span_no_context(
                name=self._name,
                span_type="CHAT_MODEL",
                inputs=dict(trace.inputs),
                attributes=_attributes(trace),
                tags=dict(trace.tags),
                experiment_id=self.experiment_id,
                start_time_ns=now - _latency_ns(trace),
            )
            if span.trace_id == _NO_OP:
                raise MlflowException(
                    "traces are not recorded: MLflow's tracing is switched off or its start failed; see its warnings, "
                    "mlflow.tracing.enable() and MLFLOW_TRACE_SAMPLING_RATIO"
                )
            span.end(outputs=_outputs(trace.output), end_time_ns=now)
            ids.append(str(span.trace_id))
        mlflow.flush_trace_async_logging()
        return ids

    def _lacking(self, traces: Sequence[AnswerTrace]) -> list[AnswerTrace]:
        """The first and the last of a batch, as far as they are not there as they were written."""
        lacking = []
        for trace in {traces[0].key: traces[0], traces[-1].key: traces[-1]}.values():
            spans = self._client.get_trace(trace.trace_id).data.spans
            if not spans or spans[0].inputs != dict(trace.inputs) or spans[0].outputs != _outputs(trace.output):
                lacking.append(trace)
        return lacking

    def _remove(self, ids: Sequence[str]) -> None:
        with contextlib.suppress(Exception):  # leftovers of a path that didn't work: tidiness, not correctness
            for some in _portions(ids):
                self._client.delete_traces(self.experiment_id, trace_ids=list(some))

    def _link(self, ids: Sequence[str]) -> None:
        if self.run_id is None:
            return
        try:
            for some in _portions(ids):
                self._client.link_traces_to_run(list(some), self.run_id)
        except Exception:
            # The traces are there, and the experiment's page lists them; only the run's own page lacks them.
            log.warning("MLflow: traces can't be linked to the run %s", self.run_id, exc_info=True)


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _LINKED_A_CALL):
        yield ids[start : start + _LINKED_A_CALL]


def _attributes(trace: AnswerTrace) -> dict[str, Any]:
    usage = {
        "input_tokens": trace.prompt_tokens,
        "output_tokens": trace.completion_tokens,
        "total_tokens": trace.prompt_tokens + trace.completion_tokens,
    }
    return {_MODEL: trace.model, _USAGE: usage, **trace.attributes}


def _span(trace: AnswerTrace, name: str, now_ns: int) -> dict[str, Any]:
    """The span in the form of :meth:`mlflow.entities.Span.from_dict`: ids in base64, attributes as JSON."""
    attributes = {
        _TRACE_ID: trace.trace_id,
        _INPUTS: dict(trace.inputs),
        _OUTPUTS: _outputs(trace.output),
        _SPAN_TYPE: "CHAT_MODEL",
        **_attributes(trace),
        **{f"{_TAG_PREFIX}{key}": value for key, value in {"mlflow.traceName": name, **trace.tags}.items()},
    }
    digest = _digest(trace.key)
    return {
        "trace_id": base64.b64encode(digest[:16]).decode(),
        "span_id": base64.b64encode(digest[16:24]).decode(),
        "parent_span_id": None,
        "name": name,
        "start_time_unix_nano": now_ns - _latency_ns(trace),
        "end_time_unix_nano": now_ns,
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "events": [],
        "attributes": {key: json.dumps(value, ensure_ascii=False, default=str) for key, value in attributes.items()},
    }


def _outputs(text: str) -> Any:
    """The answer as a span's outputs: the text, or a chat completion around it where MLflow would alter the text.

    Its store takes outputs that look like JSON for dumped twice and parses them: ``"yes"`` comes back without its
    quotes, an object without its spaces.

    >>> _outputs("yes"), _outputs('{"a": 1}')
    ('yes', {'choices': [{'message': {'role': 'assistant', 'content': '{"a": 1}'}}]})
    """
    if text.lstrip()[:1] not in {"{", "[", '"'}:
        return text
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def _latency_ns(trace: AnswerTrace) -> int:
    return int(trace.latency_ms * 1_000_000)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
