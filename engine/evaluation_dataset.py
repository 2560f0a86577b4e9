"""The MLflow evaluation data set that a collection makes or extends."""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.config import PromptOptimizationModel
from engine.errors import ConfigError, InputError
from engine.tracking import experiment_id

# What MLflow's store and Databricks say where there is no such data set.
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND"}
# MLflow takes a record whose inputs have a `goal` for a simulated conversation, and refuses it with other inputs.
_SESSION_KEY, _SESSION_KEYS = "goal", ("persona", "goal", "context", "simulation_guidelines")


def dataset_name(settings: PromptOptimizationModel) -> str:
    """Return the name of the data set to make.

    Raises:
        ConfigError: there is none.
    """
    if not settings.dataset.name:
        raise ConfigError(
            f"optimization {settings.name!r}: its dataset has no name, so there is no evaluation data set to make; set "
            "dataset_name (on Databricks catalog.schema.table)"
        )
    return settings.dataset.name


def open_dataset(name: str, experiment_name: str) -> Any:
    """Return the evaluation data set called ``name``, made where there is none yet.

    Raises:
        ConfigError: MLflow can't hold one.
    """
    from databricks.sdk.errors.base import DatabricksError
    from mlflow.genai import datasets

    try:
        experiment = experiment_id(experiment_name)
        try:
            return datasets.get_dataset(name=name)
        except (MlflowException, DatabricksError) as error:
            if getattr(error, "error_code", "") not in _MISSING:
                raise
            return datasets.create_dataset(name=name, experiment_id=experiment)
    except (MlflowException, DatabricksError, ImportError) as error:
        raise ConfigError(
            f"MLflow at {mlflow.get_tracking_uri()} can't make the evaluation data set {name!r}: {error}; give "
            "mlflow.tracking_uri a database or a server (a folder of files can't hold data sets)"
        ) from error


def refuse_session_keys(rows: DataFrame) -> None:
    """Make sure that MLflow's data sets will take the rows, before the first call.

    Raises:
        InputError: a row has the input ``goal`` among others.
    """
    keys = F.json_object_keys("inputs")
    others = F.array_except(keys, F.array(*[F.lit(key) for key in _SESSION_KEYS]))
    mixed = rows.where(F.array_contains(keys, _SESSION_KEY) & (F.size(others) > 0)).limit(1).collect()
    if mixed:
        raise InputError(
            f"an input is called {_SESSION_KEY!r}, which MLflow's data sets keep for simulated conversations and "
            f"refuse beside other inputs: {mixed[0]['inputs'][:200]}; rename the variable"
        )
