"""Data sets: where rows come from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.settings import Settings

_SOURCES = ("table", "path", "traces", "trace_table", "inference_table", "data")
DATASET_SOURCES = "name, table, path, traces, trace_table, inference_table or data"


class TraceReadingModel(Settings):
    """How the prompt's calls are found in traces of whole applications; see :class:`udfs.trace_rows.TraceReading`."""

    match: Literal["auto", "root", "linked", "template"] = Field(
        default="auto", description="how the prompt is found: root inputs by name, linked version, or its template"
    )
    include: list[Literal["errors", "truncated", "negative"]] = Field(
        default_factory=list, description="what is taken though it is left out otherwise"
    )
    span: str | None = Field(default=None, min_length=1, description="a pattern of the spans' names that count")
    feedback: list[str] = Field(default_factory=list, description="names of the feedback that counts; all if empty")
    filter: str | None = None
    max_traces: int | None = Field(default=None, ge=1)


class TracesModel(TraceReadingModel):
    """MLflow traces as a source of rows; ``filter`` is MLflow's."""

    experiment: str | None = None
    run_id: str | None = None


class TraceTableModel(TraceReadingModel):
    """A table of traces or of a serving endpoint's requests as a source of rows; ``filter`` is a condition in SQL."""

    name: str = Field(min_length=1)


class DatasetModel(Settings):
    """Where rows come from: exactly one of the sources."""

    name: str | None = Field(default=None, description="an MLflow evaluation data set")
    table: str | None = Field(default=None, description="a table that Spark can read")
    path: str | None = Field(default=None, description="a file or folder: Parquet, JSON, CSV, Delta")
    traces: TracesModel | None = None
    trace_table: TraceTableModel | None = Field(default=None, description="a table of traces or of spans")
    inference_table: TraceTableModel | None = Field(default=None, description="a serving endpoint's payload table")
    data: list[dict[str, Any]] | None = Field(
        default=None, description="records of inputs and expectations, in this file"
    )

    @field_validator("trace_table", "inference_table", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> DatasetModel:
        given = [key for key in _SOURCES if getattr(self, key) is not None]
        if len(given) > 1 or not (given or self.name):
            raise ValueError(f"names {' and '.join(given) or 'no source'}; give one of {DATASET_SOURCES}")
        return self
