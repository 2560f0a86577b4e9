"""Lines, sums, folders and page of a batch. No Spark."""

import json
import re

import batch_world
import pytest

from engine.batch import BatchLine, BatchState, BatchSummary, newest_batch
from engine.batch.places import places_of
from engine.errors import InputError
from engine.report.batch_page import render_batch_page

LINES = (
    BatchLine(
        "one", "promoted", "one", "better", difference=0.2, calls=5, tokens=50, cost=0.25, currency="USD", rows=9
    ),
    BatchLine("two", "failed", "two", "<script>alert(1)</script>"),
    BatchLine("three", "kept", "three", difference=0.3, calls=7, reused=2, cost=1.0, currency="EUR", earlier=True),
)


def app_in(folder):
    return batch_world.app(folder, "http://127.0.0.1:1/v1", count=3)


def test_sums_keep_currencies_apart_and_are_written(tmp_path):
    """summary.json has a version, counts, sums by currency, and every line in order."""
    BatchSummary("b", str(tmp_path), LINES, 12.0).write()
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["format"] == 1
    assert written["counts"] == {"promoted": 1, "kept": 1, "failed": 1}
    assert written["calls"] == {"made": 12, "reused": 2}
    assert written["costs"] == [{"amount": 0.25, "currency": "USD"}, {"amount": 1.0, "currency": "EUR"}]
    assert [line["name"] for line in written["optimizations"]] == ["one", "two", "three"]


def test_the_page_escapes_ranks_and_links():
    """It holds no script of anybody's, ranks lines by gain, and links to the reports that there are."""
    page = render_batch_page(BatchSummary("b", "/nowhere", LINES, 12.0))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert re.findall(r"--gain:(\d)", page) == ["1", "2", "0"]
    assert 'href="one/report.html"' in page
    assert 'href="two/report.html"' not in page


def test_the_newest_batch_of_these_optimizations_is_found(tmp_path):
    """--resume finds the newest folder that has any of them, not a younger one of others."""
    app = app_in(tmp_path)
    every = app.optimizations.prompt_optimizations
    runs = tmp_path / "store" / "runs"
    with pytest.raises(InputError, match="--resume"):
        newest_batch(app, every)
    for stamp, keys in (("20260101-000000", every), ("20260102-000000", every), ("20260103-000000", {})):
        BatchState.open(str(runs / f"batch-{stamp}"), keys)
    assert newest_batch(app, every) == str(runs / "batch-20260102-000000")
    with pytest.raises(InputError, match="word_00"):
        newest_batch(app, {"word_00": every["word_00"]})


def test_a_batch_keeps_its_identity(tmp_path):
    """Opened again, it has the same id, and takes optimizations that are new to it."""
    every = app_in(tmp_path).optimizations.prompt_optimizations
    first = BatchState.open(str(tmp_path / "run"), {"word_00": every["word_00"]})
    again = BatchState.open(str(tmp_path / "run"), every)
    assert again.batch_id == first.batch_id
    assert set(again.settings) == set(every)


def test_places_are_those_that_are_called(tmp_path):
    """The target's place counts; a reflection model that no proposer asks does not."""
    (settings, *_) = app_in(tmp_path).optimizations.prompt_optimizations.values()
    place = ("openai", "http://127.0.0.1:1/v1", "small")
    asked = settings.model_copy(update={"reflection_model": settings.agent.model})
    assert places_of(asked) == places_of(settings) == {place}
