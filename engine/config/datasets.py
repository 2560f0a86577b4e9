"""Data sets: where rows come from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from engine.settings import Settings


class TracesModel(Settings):
    """MLflow traces as a source of rows."""

    experiment: str | None = None
    run_id: str | None = None
    filter: str | None = None
    max_traces: int | None = Field(default=None, ge=1)


class DatasetModel(Settings):
    """Where rows come from: exactly one of the sources."""

    name: str | None = Field(default=None, description="an MLflow evaluation data set")
    table: str | None = Field(default=None, description="a table that Spark can read")
    path: str | None = Field(default=None, description="a file or folder: Parquet, JSON, CSV, Delta")
    traces: TracesModel | None = None
    data: list[dict[str, Any]] | None = Field(
        default=None, description="records of inputs and expectations, in this file"
    )

    @model_validator(mode="after")
    def _one_source(self) -> DatasetModel:
        given = [key for key in ("table", "path", "traces", "data") if getattr(self, key) is not None]
        if len(given) > 1 or not (given or self.name):
            raise ValueError(
                f"names {' and '.join(given) or 'no source'}; give one of name, table, path, traces or data"
            )
        return self
