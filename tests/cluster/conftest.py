"""What stands in ``faults`` runs on clusters of several processes only: ``test_faults.py`` starts it there."""

import os
import sys
from pathlib import Path

import pytest
from spark_clusters import CLUSTER_VARIABLE

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "faults")]

cluster = os.environ.get(CLUSTER_VARIABLE, "")
collect_ignore = [] if cluster.startswith(("standalone", "local-cluster")) else ["faults"]


@pytest.fixture
def measured(request):
    """Tell a line that was measured, whatever pytest captures: `make test-cluster` is read for them."""

    def tell(text):
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"\nmeasured: {request.node.name}: {text}\n")
            sys.stdout.flush()

    return tell
