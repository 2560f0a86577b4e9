"""The geometry of the charts and of the candidate tree."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.record import CandidateLine, StepLine
from engine.report.charts import WIDTH, interval_chart, interval_domain, score_chart, score_domain, slice_chart
from engine.report.svg import scale, ticks
from engine.report.tree import layout, lineage, tree_chart

unit = st.floats(0, 1)
difference = st.floats(-1, 1)


def candidate(
    label: str, parents: tuple[str, ...] = (), status: str = "accepted", val: float | None = 0.5
) -> CandidateLine:
    return CandidateLine(label, label, parents, "gepa", 1, status, "", "text", val_score=val)


@st.composite
def searches(draw):
    """Candidates in the order they were made, each with up to two earlier parents (or an unknown one)."""
    found = [candidate("seed", status="seed")]
    for at in range(draw(st.integers(0, 40))):
        known = st.sampled_from([c.label for c in found])
        parents = draw(st.lists(known | st.just("unknown"), max_size=2))
        found.append(candidate(f"c{at}", tuple(parents), draw(st.sampled_from(["accepted", "rejected", "guarded"]))))
    return found


@given(low=st.floats(-1, 1), high=st.floats(-1, 1), wanted=st.integers(2, 10))
def test_ticks_rise_inside_the_axis_and_are_few(low, high, wanted):
    """Between any two values there are some round ticks, never a crowd."""
    assume(high - low > 1e-6)
    found = ticks(low, high, wanted)
    assert 1 <= len(found) <= 2 * wanted + 1
    assert found == sorted(set(found))
    assert all(low - 1e-6 <= tick <= high + 1e-6 for tick in found)


@given(value=unit, low=difference, high=difference)
def test_scale_keeps_to_its_pixels(value, low, high):
    """A value inside the axis is drawn inside the picture, the ends at its ends."""
    assume(high > low)
    inside = low + value * (high - low)
    assert -1e-6 <= scale(min(max(inside, low), high), (low, high), (0.0, 100.0)) <= 100 + 1e-6
    assert scale(low, (low, high), (0.0, 100.0)) == 0.0


@given(st.lists(unit, min_size=1))
def test_the_score_axis_holds_all_values_and_stays_within_0_and_1(values):
    """An axis of scores shows every value, is never shorter than 0.1 and never leaves 0 to 1."""
    low, high = score_domain(values)
    assert -1e-9 <= low <= min(values) + 1e-6
    assert max(values) - 1e-6 <= high <= 1 + 1e-9
    assert high - low >= 0.1 - 1e-5


@given(st.lists(difference, min_size=1))
def test_the_interval_axis_holds_all_values_and_zero(values):
    """Zero is always in sight."""
    low, high = interval_domain(values)
    assert low < min(0.0, *values)
    assert high > max(0.0, *values)


@given(middle=difference, ends=st.lists(st.none() | difference | st.just(math.inf), max_size=2), needed=difference)
def test_everything_of_the_interval_is_drawn_inside_the_picture(middle, ends, needed):
    """Dot, whiskers and marks lie in the picture, whichever end is missing or infinite."""
    picture = ET.fromstring(interval_chart(middle, ends, needed))  # noqa: S314 - our own text
    places = [float(e.get(k)) for e in picture.iter() for k in ("x1", "x2", "cx") if e.get(k)]
    whisker = next(e for e in picture.iter("path") if e.get("class") == "whisker").get("d")
    places += [float(x) for x in re.findall(r"[MH](-?[\d.]+)", whisker)]
    assert all(0 <= place <= WIDTH for place in places)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_no_difference_draws_no_interval(missing):
    """Where nothing was measured, nothing is drawn."""
    assert interval_chart(missing, (0.0, 1.0), 0.0) == ""


def test_the_interval_marks_what_the_gate_needs_only_where_it_is_not_zero():
    """Two marks on one place would be one too many."""
    assert "needed: +0.020" in interval_chart(0.1, (0.0, 0.2), 0.02)
    assert 'class="needed"' not in interval_chart(0.1, (0.0, 0.2), 0.0)


def test_scores_without_a_value_draw_nothing_and_none_is_skipped():
    """A step without a score leaves the line as it was."""
    assert score_chart([StepLine(0, None, 0, 0, 0.0)], [candidate("a", val=None)], None) == ""
    steps = [StepLine(0, 0.2, 0, 0, 0.0), StepLine(1, None, 0, 0, 0.0), StepLine(2, 0.4, 0, 0, 0.0)]
    chart = score_chart(steps, [candidate("a"), candidate("b", val=None)], "a")
    assert chart.count("<circle") == 1
    assert 'class="dot won"' in chart


@pytest.mark.parametrize(("seed", "best", "kind"), [(0.2, 0.8, "gain"), (0.8, 0.2, "loss"), (0.5, 0.5, "gain")])
def test_a_slice_that_lost_is_drawn_as_a_loss(seed, best, kind):
    """The colour says the direction."""
    assert f'class="{kind}"' in slice_chart(seed, best)


@settings(deadline=None)
@given(searches(), st.booleans())
def test_the_tree_gives_each_candidate_its_own_place_right_of_its_parents(found, fold):
    """No two boxes share a place, children stand right of all parents and never above their first one."""
    nodes = layout(found, found[-1].label, fold_above=0 if fold else 1000)
    places = {(node.column, node.row) for node in nodes}
    assert len(places) == len(nodes)
    by_label = {node.candidate.label: node for node in nodes}
    for node in nodes:
        assert all(by_label[parent].column < node.column for parent in node.parents)
        assert not node.parents or by_label[node.parents[0]].row <= node.row
    assert sum(max(1, node.folded) for node in nodes) == len(found)


@settings(deadline=None)
@given(searches())
def test_a_winner_descending_from_first_parents_is_drawn_along_the_top(found):
    """The winner's line is straight: each first parent on the path is in row 0 with its first child on the path."""
    path = lineage(found, found[-1].label)
    nodes = layout(found, found[-1].label, fold_above=1000)
    assert {node.candidate.label for node in nodes if node.on_path} == path
    assert next(node for node in nodes if node.row == 0 and node.column == 0).on_path


def test_folding_keeps_what_was_accepted_and_the_path():
    """Only refused candidates without children are folded, by parent."""
    found = [candidate("seed", status="seed"), candidate("a", ("seed",))]
    found += [candidate(f"r{n}", ("seed",), "rejected", None) for n in range(5)]
    nodes = layout(found, "a", fold_above=3)
    assert [(node.candidate.label, node.folded) for node in nodes] == [("seed", 0), ("a", 0), ("r0", 5)]


def test_the_tree_marks_the_winner_and_escapes_labels():
    """The winner's box and the edges of its line have their own classes; a label is text."""
    chart = tree_chart([candidate("seed", status="seed"), candidate("<b>", ("seed",))], "<b>")
    picture = ET.fromstring(chart)  # noqa: S314 - our own text
    assert [e.get("class") for e in picture.iter("path")] == ["edge path"]
    assert [e.get("class") for e in picture.iter("a")] == ["node seed path", "node accepted path won"]
    assert tree_chart([], None) == ""


def test_a_chain_of_thousands_is_laid_out():
    """Depth costs no recursion."""
    chain = [candidate("c0"), *(candidate(f"c{n}", (f"c{n - 1}",)) for n in range(1, 3000))]
    assert layout(chain, "c2999")[-1].column == 2999
