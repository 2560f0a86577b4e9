"""JUnit XML that every CI server reads: its shape, its counts, and texts that XML can't hold."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from engine.errors import EvaluationError, InputError
from engine.junit import Suite, check_writable, failed_suite, record_suite, write_junit
from engine.questions import Question, gate_questions
from engine.record import RunRecord, SliceLine

# What Ant's schema (windyroad/JUnit-Schema) asks of each suite and case.
SUITE = {"name", "id", "package", "hostname", "timestamp", "tests", "failures", "errors", "time"}
SLICES = (SliceLine("lang", "de", 20, 0.5, 0.2), SliceLine("lang", "d", 20, 0.5, 0.6))


def outcomes(questions):
    return {question.name: question.outcome for question in questions}


def written(path, *suites):
    write_junit(str(path), suites)
    return ET.parse(path).getroot()  # noqa: S314 - our own file


def test_suites_have_what_the_schema_asks_for(tmp_path):
    """Attributes, the order of elements, and counts that fit the cases."""
    asked = (Question("coverage", "passed", "48 of 48"), Question("difference", "kept", "no <gain> & so on"))
    root = written(
        tmp_path / "x.xml", Suite("mine", asked, 1.5, "kept: no gain"), failed_suite("other", EvaluationError("down"))
    )
    assert root.tag == "testsuites"
    assert [(s.get("id"), s.get("tests"), s.get("failures"), s.get("errors")) for s in root] == [
        ("0", "2", "1", "0"),
        ("1", "1", "0", "1"),
    ]
    for suite in root:
        assert set(suite.attrib) == SUITE
        tags = [element.tag for element in suite]
        assert tags == ["properties", *["testcase"] * int(suite.get("tests")), "system-out", "system-err"]
        assert all(set(case.attrib) == {"name", "classname", "time"} for case in suite.iter("testcase"))
    failure = root.find(".//failure")
    assert (failure.get("type"), failure.text) == ("kept", "no <gain> & so on")
    assert root.find(".//error").text == "down"


def test_texts_that_xml_can_not_hold_are_written(tmp_path):
    """Models write control characters and lone surrogates; a file that no parser reads would be worth nothing."""
    root = written(tmp_path / "x.xml", Suite("a\x00b", (Question("d", "kept", "bell \x07, half \ud800, 😀"),)))
    assert root[0].get("name") == "a�b"
    assert root.find(".//failure").text == "bell �, half �, 😀"


def test_a_slice_that_is_worse_fails_alone():
    """The gate names it; the difference was good, and a slice whose name begins alike passed."""
    reason = "worse with confidence on the slice lang=de (-0.300 on 20 rows)"
    found = gate_questions("kept", reason, rows=40, total=40, slices=SLICES, lost_variables=[])
    assert outcomes(found) == {
        "coverage": "passed",
        "variables": "passed",
        "slice lang=de": "kept",
        "slice lang=d": "passed",
        "difference": "passed",
    }


@pytest.mark.parametrize(
    ("status", "rows", "lost", "failed"),
    [
        ("promoted", 40, [], {}),
        ("kept", 40, [], {"difference": "kept"}),
        ("need_more_data", 40, [], {"difference": "need_more_data"}),
        ("need_more_data", 0, [], {"coverage": "need_more_data", "difference": "need_more_data"}),
        ("kept", 40, ["text"], {"variables": "kept", "difference": "kept"}),
    ],
)
def test_each_verdict_fails_the_questions_that_it_rests_on(status, rows, lost, failed):
    """A promotion passes all."""
    found = gate_questions(status, "why", rows=rows, total=40, slices=(), lost_variables=lost)
    assert {name: outcome for name, outcome in outcomes(found).items() if outcome != "passed"} == failed


def test_an_optimization_has_a_suite():
    """From its record, as optimize --junit writes it."""
    result = {"optimization": "mine", "status": "promoted", "seconds": 3.25, "holdout": {"rows": 48}}
    record = RunRecord(result, {}, "better by +0.5", "a", "b", (), ())
    suite = record_suite(record)
    assert (suite.name, suite.seconds, suite.told) == ("mine", 3.25, "promoted: better by +0.5")
    assert outcomes(suite.questions) == {"coverage": "passed", "difference": "passed"}
    failed = record_suite(replace(record, result={**result, "status": "kept", "holdout": None}))
    assert outcomes(failed.questions) == {"coverage": "need_more_data", "difference": "kept"}


def test_a_file_that_can_not_be_written_is_told_before_the_run(tmp_path):
    """Its folder is made; a folder in its place is refused."""
    check_writable(str(tmp_path / "new" / "x.xml"))
    assert (tmp_path / "new").is_dir()
    check_writable(None)
    with pytest.raises(InputError, match=r"--junit .*folder"):
        check_writable(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--junit"):
        check_writable(str(tmp_path / "file" / "x.xml"))
