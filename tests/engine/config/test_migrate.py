"""What is rewritten means the same, keeps every comment, and differs in the few keys that meant something else."""

import config_shapes as shapes
import pytest
from config_shapes import BASE, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import AppConfig, parse_yaml
from engine.config.migrate import migrate
from engine.errors import ConfigError


def config(text, **params):
    return AppConfig.from_source(parse_yaml(text, path="c.yaml", params=params))


def comments(text):
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


def same(before, after):
    assert config(after).model_dump() == config(before).model_dump()
    assert set(config(after).reading.generations.values()) == {"promptmill"}
    assert comments(after) == comments(before)
    assert migrate(after, path="c.yaml") == after


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize(("generation", "body"), shapes.ALL)
def test_each_generation_is_rewritten_to_what_it_means(generation, body, flow):
    """Comments stay where they were, and there is nothing left to rewrite."""
    before = text_of(generation, body, flow=flow)
    same(before, migrate(before, path="c.yaml"))


EXTRA = st.sampled_from(["", "\n", "# a note: with a colon\n", "# {braces} and 'quotes'\n", "# ünïcödé ☃ 🙂\n"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_file_of_any_generation_means_the_same_when_it_is_rewritten(data):
    """Whatever the order of its keys, their style, its comments, its line ends and what stands around them."""
    generation = data.draw(st.sampled_from(sorted(shapes.SHAPES)))
    bodies = [
        data.draw(st.permutations(data.draw(st.sampled_from(shapes.SHAPES[generation]))))
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    before = text_of(generation, *bodies, flow=data.draw(st.booleans()))
    before = (
        "".join(data.draw(EXTRA) + line for line in before.splitlines(keepends=True) if True)
        if data.draw(st.booleans()) and "  # calls" not in before and "|" not in before
        else data.draw(EXTRA) + before + data.draw(EXTRA)
    )
    same(before, migrate(before, path="c.yaml"))
    windows = before.replace("\n", "\r\n")
    assert config(migrate(windows, path="c.yaml")).model_dump() == config(before).model_dump()


def test_only_the_keys_that_meant_something_else_are_touched():
    """A reviewer sees a handful of changed lines."""
    before = text_of("C", shapes.C_FULL)
    after = migrate(before, path="c.yaml")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert [line.strip() for line in changed] == [
        "scorers: [expected_facts]",
        "budget:",
        "max_metric_calls: 5",
    ]


def test_todays_shape_is_left_as_it_is():
    """So is a file with nothing to optimize."""
    for text in (BASE, text_of("A", [*shapes.A, "scorers: [exact_match]"])):
        assert migrate(text, path="c.yaml") == text


def test_parameters_stay_open():
    """What a reference stands for is not written out, and the budget may be one."""
    before = text_of("C", [*shapes.C, "num_candidates: ${var.calls:-5}"]).replace(
        "name: databricks-big", "name: ${var.m:-m}"
    )
    after = migrate(before, path="c.yaml")
    assert "max_metric_calls: ${var.calls:-5}" in after
    assert "name: ${var.m:-m}" in after
    found = config(after, calls="9").optimizations.prompt_optimizations["opt0"]
    assert found.budget.max_metric_calls == 9


@pytest.mark.parametrize(
    "written", ["num_candidates: *n", "num_candidates: null", "num_candidates:", "num_candidates: ~ # x"]
)
def test_aliases_and_nothing_are_values_too(written):
    """An alias stays one; what says nothing goes."""
    before = f"variables: {{n: &n 5}}\n{text_of('C', [*shapes.C, written])}"
    after = migrate(before, path="c.yaml")
    same(before, after)
    assert ("max_metric_calls: *n" in after) == ("*n" in written)


def test_entries_of_the_first_shape_move_below_their_level_with_their_comments_and_texts():
    """Multi-line texts keep their lines; what follows the section stays where it is."""
    before = text_of("A0", [*shapes.A0[1:], "prompt: |\n      One {user_id}\n\n        two", "# last"], shapes.A0)
    before += "mlflow: {experiment: e}\n"
    after = migrate(before, path="c.yaml")
    same(before, after)
    assert "optimizations:\n  prompt_optimizations:\n    # the entry 0\n" in after


def test_what_can_not_be_rewritten_in_place_is_refused():
    """Keys that come by a merge belong to another mapping; nothing is handed back that means something else."""
    body = ["<<: *shared", "agent: *helper", "dataset: *chats"]
    before = f"shared: &shared {{num_candidates: 5}}\n{text_of('C', body)}"
    with pytest.raises(ConfigError, match="can't be rewritten in place"):
        migrate(before, path="c.yaml")
    mixed = text_of("A0", shapes.A0).replace("optimizations:\n", "optimizations:\n  prompt_optimizations: {}\n")
    with pytest.raises(ConfigError, match="some stand below prompt_optimizations and some do not"):
        migrate(mixed, path="c.yaml")
