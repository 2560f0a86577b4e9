"""The whole loop on real multi-process Spark: the same tests as on local[2]."""

import pytest
from spark_clusters import run_on


@pytest.mark.cluster
@pytest.mark.parametrize(
    "cluster", [pytest.param("local-cluster[2,1,1024]", marks=pytest.mark.slow_cluster), "connect"]
)
def test_whole_loop_runs_alike_on_every_spark(cluster):
    """A planted prompt is found and promoted, none is when there is none, and an outage scores nothing."""
    outcome = run_on(cluster, ["tests/engine/test_migration.py", "-q"])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "4 passed" in outcome.stdout
