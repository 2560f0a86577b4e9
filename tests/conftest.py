"""Fixtures of the whole suite."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The suite also runs from a plain checkout, and pytest's importlib mode puts no folder on the path by itself.
for folder in (Path(__file__).parent, Path(__file__).parent.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from hypothesis import settings  # noqa: E402  -- after the path above

# How long an example takes hangs on what else the machine does.
settings.register_profile("promptmill", deadline=None)
settings.load_profile("promptmill")

from pyspark.sql import SparkSession  # noqa: E402  -- after the path above
from spark_clusters import CLUSTER_VARIABLE, DEFAULT_CLUSTER, session_on  # noqa: E402


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Give the session that all Spark tests of this run share, with at least two task slots."""
    with session_on(os.environ.get(CLUSTER_VARIABLE, DEFAULT_CLUSTER)) as session:
        yield session


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the URI of one MLflow store for tests that keep to experiments of their own: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
