"""The prompt difference: nothing lost, pairs that read well, folds that hide only what is far from a change."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.report.diff import MIN_FOLDED_LINES, diff_lines, fold, line_counts, word_spans

prompts = st.lists(
    st.sampled_from(["", "Be brief.", "Be very brief.", "Answer in one word.", "a", "答えて"]) | st.text(max_size=12)
).map("\n".join)


@settings(deadline=None)
@given(prompts, prompts)
def test_both_texts_can_be_read_back(old, new):
    """Unchanged and removed lines are the old text, unchanged and added ones the new text, numbered in order."""
    lines = diff_lines(old, new)
    assert "\n".join(line.text for line in lines if line.kind != "added") == old
    assert "\n".join(line.text for line in lines if line.kind != "removed") == new
    assert [n for line in lines if (n := line.old_number)] == list(range(1, old.count("\n") + 2))
    assert [n for line in lines if (n := line.new_number)] == list(range(1, new.count("\n") + 2))


@settings(deadline=None)
@given(prompts, prompts, st.integers(0, 4))
def test_folding_loses_no_line_and_hides_no_change(old, new, context):
    """The runs joined are the lines; what is folded is unchanged and worth folding."""
    lines = diff_lines(old, new)
    runs = fold(lines, context)
    assert [line for run in runs for line in run.lines] == lines
    for run in runs:
        assert not run.folded or (len(run.lines) >= MIN_FOLDED_LINES and {line.kind for line in run.lines} == {"same"})


@given(st.text(), st.text())
def test_spans_join_to_their_lines(old, new):
    """Marking words changes no text."""
    left, right = word_spans(old, new)
    assert "".join(span.text for span in left) == old
    assert "".join(span.text for span in right) == new


def test_a_rule_that_grew_is_marked_where_it_grew():
    """The words that were added to a line are marked, and only they."""
    removed, added = diff_lines("- Use English.", "- Use English, whatever the language.")
    assert [span.text for span in removed.spans if span.changed] == []
    assert [span.text for span in added.spans if span.changed] == [", whatever the language"]


def test_lines_with_nothing_in_common_are_not_paired():
    """A line that was replaced altogether stands unmarked beside the new one."""
    lines = diff_lines("Be brief.", "Take the whole conversation into account.")
    assert not any(span.changed for line in lines for span in line.spans)


def test_texts_without_spaces_are_compared_by_character():
    """One Japanese character that changed is one mark."""
    _, added = word_spans("一語で答えて", "二語で答えて")
    assert [span.text for span in added if span.changed] == ["二"]


def test_a_change_of_spaces_alone_is_marked():
    """Two lines that look alike show where they differ."""
    _, added = word_spans("Text: {{text}}", "Text:  {{text}}")
    assert [span.text for span in added if span.changed] == [":  "]


def test_equal_texts_have_no_change():
    """The same text twice is one folded run."""
    lines = diff_lines("a\n" * 10, "a\n" * 10)
    assert line_counts(lines) == (0, 0)
    assert [run.folded for run in fold(lines)] == [True]


def test_a_rewrite_of_a_very_long_prompt_takes_seconds_at_most():
    """Thousands of lines and one line of 100,000 words stay bounded."""
    begin = time.perf_counter()
    diff_lines("\n".join(f"old rule {n}" for n in range(2000)), "\n".join(f"new rule {n}" for n in range(2000)))
    diff_lines("word " * 100_000, "term word " * 60_000)
    diff_lines("a b " * 150, "b c a " * 100)
    diff_lines("x\n\n" * 2000, "\ny\n" * 2000)
    assert time.perf_counter() - begin < 20
