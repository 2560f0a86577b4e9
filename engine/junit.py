"""Verdicts as JUnit XML, which every CI server shows.

There is no one schema: what is written is valid by that of Ant (windyroad/JUnit-Schema) and by that of Jenkins'
xUnit plugin (junit-10.xsd).
"""

from __future__ import annotations

import platform
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.gate_record import Challenge
from engine.questions import Question, record_questions
from engine.record import RunRecord

# What XML 1.0 can't hold, escaped or not; models write such characters.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Suite:
    """The questions about one prompt, or the ``error`` that left them open. ``told`` goes with them as output."""

    name: str
    questions: tuple[Question, ...] = ()
    seconds: float = 0.0
    told: str = ""
    error: str | None = None


def record_suite(record: RunRecord) -> Suite:
    """Return the suite of a finished optimization."""
    result = record.result
    questions = record_questions(result, record.verdict, record.slices)
    told = f"{result['status']}: {record.verdict}"
    return Suite(str(result["optimization"]), questions, float(result["seconds"]), told)


def challenge_suites(found: Challenge) -> list[Suite]:
    """Return a suite for each prompt that was judged."""
    return [
        Suite(f"{found.optimization}: {one.place}", one.questions, found.seconds, f"{one.status}: {one.reason}")
        for one in found.prompts
    ]


def failed_suite(name: str, error: Exception | str) -> Suite:
    """Return the suite of a run that failed before there was a verdict."""
    return Suite(name, error=str(error))


def check_writable(path: str | None) -> None:
    """Make the folder of ``path``, so that nothing is paid for a result that can't be written.

    Raises:
        InputError: it can't be made, or ``path`` is a folder.
    """
    if path is None:
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--junit {path}: can't be written: {error}; give another file") from error
    if Path(path).is_dir():
        raise InputError(f"--junit {path}: is a folder; give a file")


def write_junit(path: str, suites: Sequence[Suite]) -> None:
    """Write the suites.

    Raises:
        InputError: the file can't be written.
    """
    root = ET.Element("testsuites")
    for number, suite in enumerate(suites):
        _add(root, suite, number)
    ET.indent(root)
    try:
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise InputError(f"--junit {path}: can't be written: {error}; give another file") from error


def _add(root: ET.Element, suite: Suite, number: int) -> None:
    failures = sum(question.outcome != "passed" for question in suite.questions)
    cases = len(suite.questions) + (suite.error is not None)
    element = ET.SubElement(
        root,
        "testsuite",
        {
            "name": _text(suite.name),
            "id": str(number),
            "package": "promptmill",
            "hostname": platform.node() or "localhost",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "tests": str(cases),
            "failures": str(failures),
            "errors": str(int(suite.error is not None)),
            "time": f"{suite.seconds:.3f}",
        },
    )
    ET.SubElement(element, "properties")
    for question in suite.questions:
        case = _case(element, suite, question.name)
        if question.outcome != "passed":
            failure = ET.SubElement(case, "failure", {"type": question.outcome, "message": _text(question.told)})
            failure.text = _text(question.told)
    if suite.error is not None:
        failure = ET.SubElement(
            _case(element, suite, "verdict"), "error", {"type": "failed", "message": _text(suite.error)}
        )
        failure.text = _text(suite.error)
    passed = [f"{question.name}: {question.told}" for question in suite.questions if question.outcome == "passed"]
    ET.SubElement(element, "system-out").text = _text("\n".join([suite.told, *passed]))
    ET.SubElement(element, "system-err").text = ""


def _case(element: ET.Element, suite: Suite, name: str) -> ET.Element:
    # Time is taken for the evaluation as a whole, not a question.
    names = {"name": _text(name), "classname": f"promptmill.{_text(suite.name)}", "time": "0"}
    return ET.SubElement(element, "testcase", names)


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
