"""Pieces of the report for notebooks: closed, styled for themselves alone, and free of anything untrusted."""

import importlib.util
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.comparison import Comparison, ScoredPrompt
from engine.gate_record import Challenge, Challenger
from engine.playground import Tried, TriedAnswer, TriedPrompt, TriedRow
from engine.report import inline

# pytest's importlib mode puts no folder on the path.
_spec = importlib.util.spec_from_file_location("sample_record", Path(__file__).with_name("sample_record.py"))
sample_record = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("sample_record", sample_record)
_spec.loader.exec_module(sample_record)

HOSTILE = "</style></div><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"
CALLS = {"made": 10, "reused": 2, "retried": 0, "refused": 0, "failed": 0}
TOKENS = {"prompt": 100, "completion": 10}


def comparison(text):
    prompts = (ScoredPrompt(text, "a", 0.5, 10, 10, 50, 5), ScoredPrompt("other.txt", "b", None, 10, 0, 50, 5))
    return Comparison(prompts, 10, 0, CALLS, TOKENS, None, {}, 1.0, "/table", None, doubts=(text,))


def challenge(text):
    shown = Challenger(text, "a", "promoted", text, 10, 0.2, 0.8, 0.6, (0.4, None), 0.01, 0.05, (), 7, 1, ())
    kept = Challenger("none.txt", "b", "kept", "no rows", 0, None, None, None, (None, None), None, 0.05, (), 0, 0, ())
    return Challenge("x", "promoted", text, 10, (shown, kept), CALLS, TOKENS, None, 1.0, "/run", None)


def tried(text):
    answers = (TriedAnswer(text, 1.0, {"judge": text}), TriedAnswer(None, None, {}, "timeout"))
    row = TriedRow(f'{{"text": "{text}"}}', None, answers)
    return Tried((TriedPrompt("current", text, 1.0), TriedPrompt("new", text, None)), (row,), CALLS, TOKENS, None, 1.0)


PIECES = {
    "compared": lambda text: inline.compared(comparison(text)),
    "challenged": lambda text: inline.challenged(challenge(text), needed=0.1),
    "tried": lambda text: inline.tried(tried(text)),
    "changed": lambda text: inline.changed(f"a\n{text}\nb", f"a\n{text} more\nc"),
    "facts": lambda text: inline.facts(text, {text: text}),
    "sections": lambda text: inline.sections(
        sample_record.sample(verdict=text, best_text=text, notes=(text,)), "top", "verdict", "prompt", "search"
    ),
    "overview": lambda text: inline.overview([sample_record.sample(), sample_record.failed()]),
}


class Piece(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.mark.parametrize("name", list(PIECES))
def test_a_piece_is_one_element_and_hostile_text_stays_text(name):
    """It has the same elements whatever the texts say, none that runs or fetches anything."""
    hostile, tame = (Piece(PIECES[name](text)) for text in (HOSTILE, "x" * len(HOSTILE)))
    assert hostile.found == tame.found
    assert hostile.found[0] == ("div", ("class",))
    assert not {tag for tag, _ in hostile.found} & {"script", "img", "iframe", "link", "html", "body", "nav"}
    if name != "overview":
        assert HOSTILE in hostile.text


def test_its_style_reaches_nothing_else_on_the_page():
    """Every rule is inside a scope, and none speaks of the page's root or body."""
    sheet = re.search(r"<style>(.*?)</style>", inline.facts("a", {}), re.DOTALL)[1]
    assert sheet.startswith("@scope (.promptmill) {")
    assert not re.search(r"(^|[\s,}])(:root|body|html|main)\s*[{,]", sheet)
    assert "url(" not in sheet


def test_the_overview_has_status_scores_interval_uri_and_cost():
    """What a person looks for first of a batch, also of an optimization that failed."""
    page = Piece(inline.overview([sample_record.sample(), sample_record.failed()]))
    found = sample_record.sample().result
    for wanted in ("Promoted", "Failed", found["prompt"]["uri"], f"{found['cost']['amount']:.2f}"[:3], " to "):
        assert wanted in page.text


def test_the_best_prompt_of_an_evaluation_comes_first():
    """One that could not be scored stands last, without a number."""
    page = PIECES["compared"]("best.txt")
    assert page.index("best.txt") < page.index("other.txt")
