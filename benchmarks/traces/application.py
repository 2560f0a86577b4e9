"""An application's traces in a real MLflow store: retrieval, a prompt in the middle, a tool, an answer around it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import mlflow
from mlflow.entities.span import Span
from mlflow.tracing.client import TracingClient

TEMPLATE = [
    {"role": "system", "content": "You sort messages to {{company}}.\nLabels: billing, delivery, other."},
    {"role": "user", "content": "Message:\n{{text}}\n\nAnswer with the label only."},
]
LABELS = ("billing", "delivery", "other")
_WORDS = ("invoice", "parcel", "refund", "late", "please", "order", "my", "the", "was", "not", "arrived", "charged")
_BATCH = 500


def write(experiment_id: str, traces: int, *, first: int = 0) -> Iterator[int]:
    """Write ``traces`` traces of four to six spans through MLflow's own store; yield how many there are, by batch."""
    client = TracingClient()
    for start in range(first, first + traces, _BATCH):
        numbers = range(start, min(start + _BATCH, first + traces))
        client.log_spans(experiment_id, [Span.from_dict(span) for number in numbers for span in spans(number)])
        yield numbers[-1] + 1 - first


def spans(number: int) -> list[dict[str, Any]]:
    """The spans of one trace, as :meth:`mlflow.entities.Span.from_dict` reads them; the same number, the same trace."""
    rng = random.Random(number)
    text = " ".join(rng.choices(_WORDS, k=rng.randint(20, 120))) + f" #{number}"
    label = rng.choice(LABELS)
    messages = [
        {"role": "system", "content": TEMPLATE[0]["content"].replace("{{company}}", "Lantern & Sons")},
        {"role": "user", "content": TEMPLATE[1]["content"].replace("{{text}}", text)},
    ]
    request = {"model": "big", "messages": messages, "temperature": 0.0}
    reply = {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": label}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101},
    }
    documents = [{"page_content": " ".join(rng.choices(_WORDS, k=40)), "id": str(n)} for n in range(3)]
    inner = [
        ("retrieve", "RETRIEVER", {"query": text}, documents),
        ("completions", "CHAT_MODEL", request, reply),
        ("route", "TOOL", {"label": label}, {"queue": f"{label}-queue"}),
        ("log", "UNKNOWN", {"label": label}, "ok"),
        ("notify", "TOOL", {"queue": f"{label}-queue"}, "sent"),
    ][: rng.randint(3, 5)]
    rows = [("handle", "CHAIN", {"message": text, "customer": number}, {"label": label}), *inner]
    # A day of traffic: one call every 0.86 s, so that paging by time has something to cut.
    began = 1_700_000_000_000_000_000 + number * 864_000_000
    digest = hashlib.sha256(f"benchmark-{number}".encode()).digest()
    found = []
    for place, (name, kind, inputs, outputs) in enumerate(rows):
        attributes: dict[str, Any] = {
            "mlflow.traceRequestId": f"tr-{digest[:16].hex()}",
            "mlflow.spanType": kind,
            "mlflow.spanInputs": inputs,
            "mlflow.spanOutputs": outputs,
        }
        found.append(
            {
                "trace_id": base64.b64encode(digest[:16]).decode(),
                "span_id": base64.b64encode(bytes([place]) + digest[17:24]).decode(),
                "parent_span_id": base64.b64encode(bytes([0]) + digest[17:24]).decode() if place else None,
                "name": name,
                "start_time_unix_nano": began + place * 1_000_000,
                "end_time_unix_nano": began + 500_000_000,
                "status": {"code": "STATUS_CODE_OK", "message": ""},
                "events": [],
                "attributes": {key: json.dumps(value) for key, value in attributes.items()},
            }
        )
    return found


def main(uri: str, traces: int) -> None:
    """Make the store, or go on where an earlier call ended."""
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.set_experiment("application")
    for done in write(experiment.experiment_id, traces):
        if done % 5000 == 0:
            print(f"{done} traces written", flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1], int(sys.argv[2]))
