"""Which segments are read: not the superseded ones, not the damaged ones, and never those of a later promptmill."""

import json
import logging
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ledger_entries import entry, keep

from udfs.errors import LedgerError
from udfs.ledger import LedgerLocation, Manifest, answer_key, latest, reflection_key, to_table, verdict_key
from udfs.ledger.listing import forget_checks

V1 = Path(__file__).parent / "data" / "ledger-v1"
COMPACTION = "compacted-0123456789abcdef"


@pytest.fixture(autouse=True)
def _new_process():
    forget_checks()


def merged(location, entries, supersedes, *, compaction_id=COMPACTION, manifest=True, made_at=5.0):
    """Do by hand what a compaction leaves."""
    folder = Path(location.folder)
    (folder / compaction_id).mkdir()
    pq.write_table(to_table(entries), folder / compaction_id / "part-0.parquet")
    found = Manifest(compaction_id, (f"{compaction_id}/part-0.parquet",), tuple(supersedes), made_at)
    if manifest:
        (folder / found.name).write_text(found.to_json())
    return folder / compaction_id / "part-0.parquet"


def keys(location):
    return [one.key for one in location.entries()]


def test_segments_of_format_1_still_load(tmp_path):
    """What a first promptmill kept is found under the keys of today, segment and compacted segment alike."""
    shutil.copytree(V1, tmp_path / "ledger" / "v1")
    found = latest(LedgerLocation(str(tmp_path)).entries())
    assert found.keys() == {
        answer_key("e1", "c1", "r1"),
        answer_key("e1", "c1", "r2"),
        answer_key("e1", "c1", "r3"),
        verdict_key("e2", "j1", "r1", "{}", "Bonjour ä"),
        reflection_key("e3", "[]", 0),
    }
    assert found[answer_key("e1", "c1", "r1")].output == "Bonjour ä"
    assert found[answer_key("e1", "c1", "r2")].error_kind == "content_filter"
    assert found[answer_key("e1", "c1", "r3")].output == "from the compacted one"


def test_superseded_segments_are_left_out_but_stay_for_their_own_tasks(tmp_path):
    """Readers see the merged ones; a task that starts again still finds its attempts' segments by their names."""
    location = LedgerLocation(str(tmp_path))
    for number in range(3):
        keep(location, [entry(number)], writer=f"e1-p{number}")
    names = [Path(path).name for path in location.segments()]
    merged(location, [entry(0), entry(1)], names[:2])
    assert sorted(keys(location)) == ["k0", "k1", "k2"]
    assert [segment.name for segment in location.listing().live] == [f"{COMPACTION}/part-0.parquet", names[2]]
    assert location.listing().superseded == dict.fromkeys(names[:2], 5.0)
    assert [one.key for one in location.closed_by("e1-p0-")] == ["k0"]


def test_a_compaction_without_its_manifest_has_not_happened(tmp_path):
    """A crash before the manifest leaves a folder that nobody reads."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(0)])
    merged(location, [entry(0)], [], manifest=False)
    (Path(location.folder) / f".{COMPACTION}.json.tmp").write_text("{")
    assert keys(location) == ["k0"]
    assert [folder.name for folder in location.listing().unfinished] == [COMPACTION]


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_merged_segment_brings_its_sources_back(tmp_path, caplog, harm):
    """While the superseded segments are there, no damage to the merged one loses what they hold."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(0)])
    part = merged(location, [entry(0)], [Path(location.segments()[0]).name])
    if harm == "cut":
        part.write_bytes(part.read_bytes()[:-10])
    else:
        part.unlink()
    with caplog.at_level(logging.WARNING):
        assert keys(location) == ["k0"]
        keys(location)
    assert caplog.text.count(str(part)) == 1, "told once, not at every look"
    assert list(location.listing().damaged) == [f"{COMPACTION}/part-0.parquet"]


def test_a_damaged_manifest_hides_nothing(tmp_path, caplog):
    """Its merged segments are read all the same, and the superseded ones again: the latest of each key is the same."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(0)])
    merged(location, [entry(0), entry(1)], [Path(location.segments()[0]).name])
    (Path(location.folder) / f"{COMPACTION}.json").write_text('{"format": 1, "segm')
    with caplog.at_level(logging.WARNING):
        assert sorted(latest(location.entries())) == ["k0", "k1"]
    assert f"{COMPACTION}.json" in caplog.text


def test_a_later_format_is_refused(tmp_path):
    """Passing over it would pay for its answers again: the message says so, with the file and the mend."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(0)])
    table = to_table([entry(1)]).replace_schema_metadata({"promptmill.ledger.format": "2"})
    later = Path(location.folder) / "later.parquet"
    pq.write_table(table, later)
    with pytest.raises(LedgerError, match=r"later\.parquet has format 2, this promptmill reads up to 1; use"):
        keys(location)
    later.unlink()
    (Path(location.folder) / f"{COMPACTION}.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(LedgerError, match=rf"{COMPACTION}\.json has format 2"):
        keys(location)


def test_a_foreign_parquet_file_is_skipped_with_a_warning(tmp_path, caplog):
    """Somebody's own table in the folder is named, and what it lacks."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(0)])
    pq.write_table(to_table([entry(1)]).drop_columns(["key"]), Path(location.folder) / "mine.parquet")
    with caplog.at_level(logging.WARNING):
        assert keys(location) == ["k0"]
    assert "mine.parquet" in caplog.text
    assert "lacks the columns key" in caplog.text


def test_a_segment_broken_behind_its_footer_is_skipped_with_a_warning(tmp_path, caplog):
    """The footer is sound, so that only reading finds it; from then on it counts as damaged."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(0)], writer="a")
    keep(location, [entry(1)], writer="b")
    path = Path(location.segments()[0])
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert keys(location) == ["k1"]
    assert str(path) in caplog.text
    assert [segment.name for segment in location.listing().live] == [Path(location.segments()[1]).name]


def test_entries_are_narrowed_by_kind_endpoint_and_row(tmp_path):
    """What is not asked for is not returned."""
    location = LedgerLocation(str(tmp_path))
    keep(
        location,
        [
            entry(0),
            entry(1, kind="verdict"),
            entry(2, endpoint_id="other"),
            entry(3, row_id="r2"),
        ],
    )
    found = location.entries(kinds=("answer",), endpoint_ids=("e",), row_ids=("r", "r9"))
    assert [one.key for one in found] == ["k0"]
    assert not list(location.entries(row_ids=()))
    assert len(list(location.entries())) == 4


def test_the_latest_entry_of_a_key_wins():
    """Whatever the order they are read in, and with a tie broken the same way."""
    old, new = entry(1, answered_at=1.0, output="old"), entry(1, answered_at=2.0, output="new")
    twin = entry(1, answered_at=2.0, output="newer in the alphabet")
    assert latest([old, new]) == latest([new, old]) == {"k1": new}
    assert latest([twin, new]) == latest([new, twin]) == {"k1": twin}


def test_a_ledger_at_a_uri_is_written_and_read(tmp_path):
    """A URI goes through pyarrow's file systems: segments, listing, manifests and entries."""
    location = LedgerLocation(f"file://{tmp_path}/store")
    keep(location, [entry(n) for n in range(5)], answers=2)
    assert sorted(keys(location)) == [f"k{n}" for n in range(5)]
    assert sorted(path.name for path in (tmp_path / "store/ledger/v1").iterdir()) == [
        segment.name for segment in location.listing().live
    ]
