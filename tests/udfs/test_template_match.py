"""Templates read backwards: the values that were rendered, or the word that they can't be told; never others."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from udfs.prompt import render
from udfs.template_match import AMBIGUOUS, MISMATCH, Unmatched, recover

# Few characters, so that separators and values often hold each other.
TEXT = st.text(alphabet="ab \n", max_size=6)
NAMES = st.sampled_from(["a", "b", "c"])
PIECES = st.lists(st.tuples(TEXT, NAMES), max_size=4)


def template_of(pieces, last):
    return "".join(f"{text}{{{{{name}}}}}" for text, name in pieces) + last


@settings(max_examples=400)
@given(PIECES, TEXT, st.fixed_dictionaries({"a": TEXT, "b": TEXT, "c": TEXT}), st.booleans())
@example([("", "a"), ("", "b")], "", {"a": "", "b": "", "c": ""}, False)
def test_what_was_rendered_is_recovered_or_said_to_be_ambiguous(pieces, last, values, stripped):
    """Rendering then recovering gives the values or "ambiguous", never wrong values; so it is of a stripped text."""
    if stripped:  # where the ends are not variables': nobody could tell what was stripped of a value
        pieces, last = [("a", "a"), *pieces], f"{last}b"
    template = template_of(pieces, last)
    text = render(template, values)
    found = recover(template, text.strip() if stripped else text)
    if isinstance(found, Unmatched):
        assert found.reason == AMBIGUOUS
    else:
        assert found == {name: values[name] for _, name in pieces}


def ways(literals, names, text):
    """Every way to read the values, by trying them all."""
    if not text.startswith(literals[0]):
        return []
    rest = text[len(literals[0]) :]
    if not names:
        return [{}] if not rest else []
    found = []
    for end in range(len(rest) + 1):
        found += [{names[0]: rest[:end], **values} for values in ways(literals[1:], names[1:], rest[end:])]
    return found


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="ab", max_size=3), min_size=1, max_size=4), st.text(alphabet="ab", max_size=8))
def test_values_are_told_exactly_where_there_is_one_way_to_read_them(literals, text):
    """With variables of different names, agreeing with a search through all ways."""
    names = [f"v{number}" for number in range(len(literals) - 1)]
    template = template_of(list(zip(literals, names, strict=False)), literals[-1])
    every = ways(literals, names, text)
    found = recover(template, text)
    expected = every[0] if len(every) == 1 else Unmatched(AMBIGUOUS if every else MISMATCH)
    assert found == expected


@pytest.mark.parametrize(
    ("template", "text", "found"),
    [
        ("Sort {{text}} into {{labels}}", "Sort a\nb into x", {"text": "a\nb", "labels": "x"}),
        ("{{a}}{{b}}", "xy", AMBIGUOUS),
        ("{{a}}{{b}}", "", {"a": "", "b": ""}),
        ("{{a}}, {{b}}", "x, y, z", AMBIGUOUS),
        ("{{a}} is {{a}}", "x is x", {"a": "x"}),
        ("{{a}} is {{a}}", "x is y", MISMATCH),
        ("Hi {{a}}!", "Hi !", {"a": ""}),
        ("Hi {{a}}!\n", "Hi you!", {"a": "you"}),
        ("aXa{{v}}aXa", "aXaXa", MISMATCH),
        ("{{q}}\n", "Why?", MISMATCH),
        ("  {{q}}", " x", MISMATCH),
        ("No variables. ", "No variables.", {}),
        ('{"x": {{x}}}', '{"x": {"y": 1}}', {"x": '{"y": 1}'}),
        ("{{a}} {{b}}", "{{b}} 1", {"a": "{{b}}", "b": "1"}),
    ],
)
def test_values_are_read_or_the_reason_is_given(template, text, found):
    """A separator inside a value is ambiguous; ends are compared without outer white space where they hold text."""
    got = recover(template, text)
    assert (got.reason if isinstance(got, Unmatched) else got) == found


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{a}} and {{b}} and {{c}}", "and and " * 125_000),
        ("{{a}}" + "ab" * 300 + "{{b}}", "ab" * 500_000),
        ("{{a}}" + "a" * 400 + "b{{b}}", "a" * 1_000_000),
        ("{{a}}b" + "a" * 400 + "{{b}}", "a" * 1_000_000),
        ("".join(f"{{{{v{n}}}}}a" for n in range(200)), "a" * 1_000_000),
    ],
)
def test_a_hostile_megabyte_takes_no_longer_than_any_other(template, text):
    """Texts full of separators, and of nearly separators, are read in linear time."""
    started = time.perf_counter()
    assert isinstance(recover(template, text), Unmatched)
    assert time.perf_counter() - started < 2.0
