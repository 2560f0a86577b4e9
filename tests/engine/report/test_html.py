"""The page as a whole: nothing untrusted becomes markup, nothing is fetched, every record renders."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.report
from engine.record import CandidateLine, ErrorLine, RowLine, RunRecord, SliceLine, StepLine
from engine.report import render_report, write_report
from engine.report.html import MAX_TEXT_CHARS

# pytest's importlib mode puts no folder on the path.
_spec = importlib.util.spec_from_file_location("sample_record", Path(__file__).with_name("sample_record.py"))
assert _spec is not None
assert _spec.loader is not None
sample_record = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("sample_record", sample_record)
_spec.loader.exec_module(sample_record)

HOSTILE = (
    "<script>alert(1)</script>",
    "</script></style></title></pre></details><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "'><svg onload=alert(1)><a href=javascript:alert(1)>",
    "{{ 7 * 7 }} {% for x in y %} {# gone #}",
    "]]> <!-- --!> &lt;b&gt; &amp;",
    "https://evil.example/a.png url(https://evil.example/b) @import 'x'",
)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """What a browser would make of the page: its elements, their attributes and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(sorted(attributes))) for tag, attributes in self.elements]


def page_of(record: RunRecord) -> Page:
    page = Page(render_report(record))
    assert page.unbalanced == []
    assert page.open == []
    return page


def spoiled(value: Any, text: str) -> Any:
    """Put ``text`` in the place of every string that is no status."""
    if isinstance(value, str):
        return value if value in {"promoted", "seed", "accepted", "rejected", "guarded"} else text
    if isinstance(value, dict):
        return {key: spoiled(part, text) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(spoiled(part, text) for part in value)
    if isinstance(value, (CandidateLine, ErrorLine, RowLine, SliceLine, StepLine)):
        return replace(value, **{f.name: spoiled(getattr(value, f.name), text) for f in fields(value)})
    return value


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_the_same_elements_as_harmless_text(text):
    """Whatever stands in a prompt, an output, a message or a setting, the page has the elements of a tame one."""
    base = sample_record.sample()
    pages = []
    for filling in (text, "x" * len(text)):
        changes = {f.name: spoiled(getattr(base, f.name), filling) for f in fields(base) if f.name != "format"}
        pages.append(page_of(replace(base, **changes)))
    hostile, tame = pages
    assert hostile.shape() == tame.shape()
    assert text in hostile.text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_prompts_in_the_difference_stay_text(text):
    """The diff, which cuts lines into words, escapes every piece."""
    page = page_of(sample_record.sample(seed_text=f"Say {text} now.", best_text=f"Say {text} later, please.\n{text}"))
    assert not [tag for tag, _ in page.elements if tag in {"script", "img", "iframe", "object"}]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert text in page.text


@pytest.mark.parametrize("name", sorted(sample_record.SAMPLES))
def test_nothing_is_fetched(name):
    """No element, attribute or style of the page names anything outside of it."""
    text = render_report(sample_record.SAMPLES[name]())
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"script", "img", "iframe", "object", "embed", "form", "base"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#") or attributes == {"rel": "icon", "href": "data:,"}
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href|action|data)=.?https?:", text)


def test_every_link_inside_the_page_has_its_target():
    """Links to sections and to candidates lead somewhere, also where refused candidates are folded."""
    for make in sample_record.SAMPLES.values():
        page = page_of(make())
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        targets = {(a["href"] or "")[1:] for tag, a in page.elements if tag == "a"}
        assert targets <= set(ids)


def test_the_top_answers_what_happened_by_how_much_which_prompt_and_what_it_cost():
    """The first thousand characters of text hold status, difference, interval, prompt URI and cost."""
    text = page_of(sample_record.sample()).text
    top = text[text.index("promptmill ·") :][:1000]
    for answer in (
        "Promoted",
        "+0.460",
        "95% interval +0.410 to +0.510",
        "prompts:/classify/2",
        "0.13 USD",
        "3 min 14 s",
    ):
        assert answer in top


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("promoted", "Promoted"),
        ("kept", "Kept"),
        ("need_more_data", "More data needed"),
        ("failed", "Failed"),
        ("x<y", "x<y"),
    ],
)
def test_each_status_has_its_heading(status, word):
    """Every status that result.json may hold is said in words; one that is unknown is shown as it is."""
    base = sample_record.sample()
    page = page_of(sample_record.sample(result={**base.result, "status": status}, verdict=""))
    assert f"promptmill · migrate_classify {word}" in page.text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "raced",
            (
                "Is the new prompt better than the current prompt, on the new model?",
                "Yes, with confidence.",
                "The new prompt is promoted.",
                "Better by +0.051 with confidence 95%.",
                "1,331 rows that no search stage has seen were scored with both prompts, of 10,004",
                "looked at 7 times",
                "2 rows could not be scored with the seed prompt and 1 with the best one",
                "one row's score a standard deviation of 0.158; the spread of these rows holds it",
                "won 161 rows and lost 93",
                "Of 3 slices none is worse with confidence.",
                "The gain is at least +0.004 with 95% confidence",
                "The slice language=日本語 is behind by 0.030 on 199 rows",
                "may be worse, by a margin of 0.02; that was measured, and did not decide",
                "1.000 → 0.876\N{MINUS SIGN}0.124",
                "c8: worse than the leader, with confidence",
            ),
        ),
        (
            "unsure",
            (
                "These rows can't tell",
                "About 1,480 more rows would settle it, with a chance of 80%",
                "The judges' noise was never measured (promptmill judge-check does it)",
            ),
        ),
        (
            "blocked",
            (
                "On the whole yes, but something else forbids it",
                "The slice language=日本語 is worse by +0.220 on 199 rows",
            ),
        ),
    ],
)
def test_the_verdict_alone_says_what_was_decided_on_what_and_what_would_change_it(name, told):
    """Each answer with its evidence and its way out, in the section's own text."""
    whole = page_of(sample_record.SAMPLES[name]()).text
    verdict = whole[whole.index("What was decided") - 200 : whole.index("Seed prompt against")]
    for text in told:
        assert text in verdict


def test_losses_stand_before_wins():
    """A reader meets the rows that got worse first, with how many there are beyond those shown."""
    text = page_of(sample_record.sample()).text
    assert text.index("Lost rows") < text.index("Lowest-scored rows") < text.index("Won rows")
    assert "2 of 21 rows" in text


def test_a_run_that_kept_its_seed_shows_no_difference():
    """Where best is seed the report says so and shows neither a diff nor an interval of nothing."""
    page = page_of(sample_record.kept_seed())
    assert "The best prompt is the seed prompt, so there is nothing to compare." in page.text
    assert "No candidate but the seed prompt was made" in page.text
    assert "diff" not in {attributes.get("class") for _, attributes in page.elements}
    assert "No comparison" not in page.text


def test_a_failed_run_says_what_is_missing():
    """Without holdout, prompt, cost, candidates and settings the report still renders, and names what it lacks."""
    text = page_of(sample_record.failed()).text
    for line in ("Not measured", "No URI", "Not known", "No comparison on the holdout was made.", "holds no settings"):
        assert line in text


def test_an_empty_result_renders():
    """Every key of result.json may be missing."""
    page = page_of(RunRecord({}, {}, "", "", "", (), ()))
    assert "Failed" in page.text


def test_missing_scores_are_dashes():
    """None is never written as a number."""
    rows = (sample_record.row(1, None, None),)
    bare = [replace(c, val_score=None, minibatch_before=None) for c in sample_record.candidates()]
    steps = (StepLine(0, None, 0, 0, 0.0),)
    page = page_of(
        sample_record.sample(candidates=tuple(bare), steps=steps, worst_rows=rows, lost_rows=(), won_rows=())
    )
    assert "None" not in page.text
    assert "nan" not in page.text


def test_what_each_proposer_brought_stands_in_a_table():
    """Proposals, refusals, acceptances, gain and calls, one line a proposer; nothing where the record has none."""
    account = {"name": "simba", "proposals": 7, "refused": 2, "accepted": 1, "gain": 0.125, "calls": 1234}
    record = sample_record.sample()
    page = page_of(replace(record, result={**record.result, "proposers": [account]}))
    assert "simba" in page.text
    assert "1,234" in page.text
    assert "simba" not in page_of(record).text


def test_long_texts_are_folded_and_very_long_ones_cut():
    """A row's long output opens on demand; beyond the bound the page says how much more there is."""
    long = "word " * MAX_TEXT_CHARS
    page = page_of(sample_record.sample(worst_rows=(sample_record.row(1, 0.0, 0.0, output=long),)))
    assert f"{len(long) - MAX_TEXT_CHARS:,} more characters stand in record.json" in page.text
    assert len("".join(page.texts)) < 3 * MAX_TEXT_CHARS


def test_hundreds_of_candidates_fold_the_refused_ones():
    """All 400 are in the page, the refused ones behind a fold."""
    page = page_of(sample_record.huge())
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {f"candidate-c{n}" for n in range(1, 400)} <= ids
    assert "rejected or guarded candidates" in page.text


def test_chat_prompts_show_their_roles():
    """A message's role is a heading of its block, not a line of it."""
    text = render_report(sample_record.kept_seed())
    assert '<div class="role">system</div>' in text
    assert "[system]" not in Page(text).text


def test_text_takes_its_own_direction_and_hidden_characters_are_shown():
    """Right-to-left text is laid out as such; an override that would disguise text is written out."""
    row = replace(sample_record.row(2, 1.0, 0.0), best_output="safe \u202etxet\x00 \ud800")
    text = render_report(sample_record.sample(lost_rows=(row,)))
    assert "safe ⟨U+202E⟩txet⟨U+0000⟩ ⟨U+D800⟩" in text
    assert 'dir="auto">وصلت' in text


def test_the_report_is_written_as_utf_8_and_is_the_same_each_time(tmp_path):
    """The folder is made, the path comes back, and the same record gives the same bytes."""
    record = sample_record.sample()
    first = write_report(record, tmp_path / "deep" / "report.html")
    assert first == tmp_path / "deep" / "report.html"
    assert first.read_text("utf-8") == render_report(record)
    assert "配送はとても早かったです" in first.read_text("utf-8")


def test_a_record_that_was_written_and_read_gives_the_same_report(tmp_path):
    """The report can be made again from the run's folder."""
    record = sample_record.sample()
    record.write(tmp_path)
    assert render_report(RunRecord.read(tmp_path)) == render_report(record)


def test_the_public_names_are_these():
    """The package exports three functions."""
    assert sorted(engine.report.__all__) == ["render_report", "write_batch_page", "write_report"]


words = st.text(max_size=30)
scores = st.none() | st.floats(0, 1)


@settings(max_examples=40, deadline=None)
@given(seed=words, best=words, output=st.none() | words, score=scores, label=words.filter(bool), inputs=words)
def test_any_text_renders_to_a_balanced_page(seed, best, output, score, label, inputs):
    """No text, however odd, breaks the page."""
    row = RowLine(label, inputs, json.dumps({seed: output}), 1, output, score, output, score, best)
    line = CandidateLine(label, "x", (label,), seed, 1, best, inputs, seed, score, score, score)
    page_of(sample_record.sample(seed_text=seed, best_text=best, worst_rows=(row,), candidates=(line,)))
