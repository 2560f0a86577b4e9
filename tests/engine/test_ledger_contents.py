"""What a ledger holds and what it saved: counted by endpoint, added up over runs, damaged ones named."""

import json
import logging
from pathlib import Path

import pytest
from ledger_entries import entry, keep

from engine.ledger_contents import ledger_contents
from engine.ledger_uses import record_use, recorded_uses
from udfs.endpoint import Endpoint
from udfs.ledger import LedgerLocation
from udfs.ledger.listing import forget_checks

DATA = Path(__file__).parent / "data"


@pytest.fixture
def location(tmp_path):
    forget_checks()
    found = LedgerLocation(str(tmp_path))
    keep(found, [entry(n, answered_at=100.0 + n) for n in range(4)], writer="a")
    keep(
        found,
        [
            entry(4, output=None, error_kind="content_filter", answered_at=50.0),
            entry(5, kind="verdict", endpoint_id="judge"),
            entry(6, kind="reflection", endpoint_id="big"),
        ],
        writer="b",
    )
    return found


def use(location, run_id="one", **changes):
    values = {
        "name": "migrate",
        "calls": {"reused": 3, "resumed": 2, "made": 9},
        "tokens": {"prompt": 100, "completion": 20},
        "cost": {"amount": 0.5, "currency": "USD"},
        "endpoints": {"e": "small-model"},
        "clock": lambda: 7.0,
    }
    record_use(location, run_id=run_id, **values | changes)


def test_contents_are_counted_by_endpoint(location):
    """Answers, refusals, verdicts and reflections each where they belong; names from runs and from configuration."""
    configured = Endpoint("judge-model")
    keep(location, [entry(7, kind="verdict", endpoint_id=configured.endpoint_id)], writer="c")
    use(location)
    found = ledger_contents(location, [configured])
    lines = {line.endpoint_id: line for line in found.endpoints}
    assert (lines["e"].model, lines["e"].answers, lines["e"].failures) == ("small-model", 4, 1)
    assert (lines["judge"].model, lines["judge"].verdicts, lines["big"].reflections) == (None, 1, 1)
    assert lines[configured.endpoint_id].model == "judge-model"
    assert (lines["e"].prompt_tokens, lines["e"].completion_tokens) == (50, 10)
    assert (found.segments, found.superseded, found.oldest, found.newest) == (3, 0, 1.0, 103.0)
    assert found.bytes == sum(Path(path).stat().st_size for path in location.segments())
    json.dumps(found.to_dict())


def test_damaged_segments_are_named(location):
    """They count for nothing, and are told with the reason."""
    path = Path(location.segments()[0])
    path.write_bytes(b"PAR1")
    found = ledger_contents(location)
    assert list(found.damaged) == [path.name]
    assert (found.segments, sum(line.answers for line in found.endpoints)) == (1, 0)


def test_an_empty_ledger_has_contents_too(tmp_path):
    """Nothing is there, and nothing fails."""
    found = ledger_contents(LedgerLocation(str(tmp_path / "none")))
    assert (found.endpoints, found.segments, found.oldest, found.saved.runs) == ((), 0, None, 0)


def test_what_runs_saved_adds_up(location):
    """By run, each counted once however often it ended; money by currency."""
    use(location, "one", calls={"reused": 99})
    use(location, "one")
    use(location, "two", cost=None)
    use(location, "../three", cost={"amount": 1.0, "currency": "EUR"})
    saved = ledger_contents(location).saved
    assert (saved.runs, saved.calls, saved.prompt_tokens, saved.completion_tokens) == (3, 15, 300, 60)
    assert saved.cost == {"USD": 0.5, "EUR": 1.0}
    assert all(path.parent.name == "uses" for path in Path(location.uses).parent.rglob("*.json"))


def test_a_record_of_format_1_still_loads(tmp_path):
    """What a first promptmill recorded is added up by every later one."""
    folder = tmp_path / "ledger" / "uses"
    folder.mkdir(parents=True)
    (folder / "run-1.json").write_bytes((DATA / "ledger-use-v1.json").read_bytes())
    (found,) = recorded_uses(LedgerLocation(str(tmp_path)))
    assert (found.run_id, found.reused, found.resumed, found.cost, found.currency) == ("run-1", 3, 2, 0.5, "USD")
    assert found.endpoints == {"e": "small-model"}


def test_records_that_cannot_be_read_are_left_out_with_a_warning(location, caplog):
    """Half a file, another format, no object: none of them stops the show."""
    use(location)
    folder = Path(location.uses)
    (folder / "half.json").write_text('{"format": 1, "run')
    (folder / "later.json").write_text('{"format": 2}')
    (folder / "list.json").write_text("[]")
    (folder / ".x.json.tmp").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert [one.run_id for one in recorded_uses(location)] == ["one"]
    for name in ("half.json", "later.json", "list.json"):
        assert name in caplog.text


def test_a_record_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    """The run it tells of has ended well."""
    (tmp_path / "ledger").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        use(LedgerLocation(str(tmp_path)))
    assert "could not be recorded" in caplog.text
