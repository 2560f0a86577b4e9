"""A run's identity on disk, and its record."""

import json

import pytest

from engine.record import RunRecord
from engine.report import write_report
from engine.run_state import RunState
from udfs.errors import InputError


def test_the_same_folder_and_settings_are_the_same_run(tmp_path):
    """Opened again, the folder gives the same run, with the MLflow run that belongs to it."""
    first = RunState.open(str(tmp_path / "run"), "settings").with_mlflow_run("m1")
    assert RunState.open(str(tmp_path / "run"), "settings") == first


def test_other_settings_are_refused(tmp_path):
    """A run that was begun with other settings can't be gone on with, and the message says so."""
    RunState.open(str(tmp_path / "run"), "settings")
    with pytest.raises(InputError, match="other settings"):
        RunState.open(str(tmp_path / "run"), "changed")


@pytest.mark.parametrize("text", ["", "[", '{"format": 99}'])
def test_damaged_or_newer_state_is_told(tmp_path, text):
    """A broken or unknown run.json is an error with the place, never a fresh run over it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(text)
    with pytest.raises(InputError, match="run"):
        RunState.open(str(folder), "settings")


def test_records_of_format_1_still_load(tmp_path):
    """The record that is kept in the tests reads back and makes a report."""
    from pathlib import Path

    kept = Path(__file__).parent / "data" / "record-v1"
    record = RunRecord.read(kept)
    assert record.result["status"] == "promoted"
    assert write_report(record, tmp_path / "report.html").read_text().startswith("<!")
    assert RunRecord.read(record.write(tmp_path).parent) == record


def test_unknown_formats_are_refused(tmp_path):
    """A record of a later format is refused with the mend."""
    (tmp_path / "record.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(InputError, match="upgrade"):
        RunRecord.read(tmp_path)
