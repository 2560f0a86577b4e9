"""Where things run and are kept: Spark, storage, MLflow."""

from __future__ import annotations

from pydantic import Field

from engine.settings import Settings


class SparkModel(Settings):
    """``spark``: used only where no session exists yet."""

    master: str = "local[*]"
    remote: str | None = None
    conf: dict[str, str] = Field(default_factory=dict)


class StorageModel(Settings):
    """``storage``: where ledger and runs are kept."""

    root: str = Field(default=".promptmill", description="a path, /Volumes/… or an object-store URI")


class MlflowModel(Settings):
    """``mlflow``: the tracking store and the experiment."""

    tracking_uri: str | None = None
    experiment: str = "promptmill"
