"""No login of whoever runs the suite takes part in it."""

import os

import pytest

from engine.serving import handover, login


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("DATABRICKS_", "ARM_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    monkeypatch.setattr(login, "_lenders", {})
    monkeypatch.setattr(handover, "_told", {})
