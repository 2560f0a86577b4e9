"""Mutated configurations by the thousand: each is read, or refused with a ConfigError, and nothing else comes out.

``FUZZ_EXAMPLES=20000 pytest tests/engine/config/test_fuzz.py`` tries more of them.
"""

import contextlib
import json
import os
import random
from pathlib import Path

import config_shapes as shapes
import yaml
from config_shapes import text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import AppConfig, parse_yaml
from engine.config.migrate import migrate
from engine.config.resolved import resolved_yaml
from engine.errors import ConfigError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1000"))
CONF = Path(__file__).parents[3] / "conf"
TEXTS = [text_of(generation, body) for generation, body in shapes.ALL]
TEXTS += [text_of("C", shapes.C_FULL, shapes.C, flow=True), (CONF / "migration.yaml").read_text()]
PARAMETERS = "parameters: {a: {default: 5}, b: {}}\nvariables: {v: &v {env: UNSET, default_value: ${var.a}}}\n"
SNIPPETS = ["null", "{}", "[]", "0", "-1", ".nan", "1e400", '""', "{a: b}", "[[]]", "{1: 2}", "{? [x] : y}", "yes",
            "!!int x", "*small", "&x 1", "{env: x}", "{options: {a: b}}", "{value: [1]}", "2026-01-01", "!!set {a}",
            '"\\ud800"', "!!binary aGk=", "{<<: 1}", "{search: 1}", "99999999999999999999", "${var.a}", "${var.b}",
            "'${var.a:-x}'", "$${var.zz}", "{<<: *small}", "*v", "{scope: a, secret: b}", "[{agent: helper}]",
            "|\n", "{options: [{scope: a}, {env: 1}]}", "{no: 1}", "openai:/", "endpoints:/x", "prompts:/x@y",
            "{input: [1]}", "[{inputs: {messages: [1]}, expectations: 3}]", "\ue000\ue001var.a\ue002",
            "{name: {env: [x]}}"]  # fmt: skip
OPTIONS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
# To make up a value takes longer than to read a file with it.
FEWER = settings(OPTIONS, max_examples=max(1, EXAMPLES // 4))


def told(text):
    """Return the ConfigError's message, ``None`` for a text that is a configuration; such a one can be shown."""
    try:
        config = AppConfig.from_source(parse_yaml(text, path="c.yaml"))
    except ConfigError as error:
        return str(error)
    shown = yaml.safe_load(resolved_yaml(config))
    assert isinstance(shown, dict)
    return None


@OPTIONS
@given(st.integers(0, 10**9), st.integers(1, 4))
def test_a_mutated_file_is_read_or_refused_and_nothing_else(seed, mutations):
    """Whatever stands in a file or is cut out of it: a configuration, or a ConfigError with the file's name."""
    rng = random.Random(seed)
    text = rng.choice(TEXTS)
    if rng.random() < 0.3:
        text = PARAMETERS + text
    for _ in range(mutations):
        text = mutated(text, rng)
    message = told(text)
    assert message is None or message.startswith("c.yaml")
    if message is None and rng.random() < 0.2:
        rewritten(text)


def rewritten(text):
    """Rewriting it gives a text that is read, or says why it can't."""
    with contextlib.suppress(ConfigError):
        assert told(migrate(text, path="c.yaml")) is None


def mutated(text, rng):
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    how = rng.randrange(6)
    if how == 0:
        del lines[at]
    elif how == 1 and ":" in lines[at]:
        lines[at] = f"{lines[at].partition(':')[0]}: {rng.choice(SNIPPETS)}\n"
    elif how == 2:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif how == 3:
        position = rng.randrange(len(text))
        return text[:position] + rng.choice([*SNIPPETS, ":", "\n", " ", "{", "\t", "\x07"]) + text[position + 1 :]
    elif how == 4 and ": " in text:
        values = text.split(": ")
        number = rng.randrange(1, len(values))
        old = values[number]
        end = min([old.find(sign) for sign in ",}\n" if sign in old] or [0])
        values[number] = rng.choice(SNIPPETS) + old[end:]
        return ": ".join(values)
    else:
        lines[at] = " " * rng.randrange(4) + lines[at]
    return "".join(lines) or "a: 1"


def replaced(value, path, new):
    if not path:
        return new
    if isinstance(value, dict):
        return {key: replaced(one, path[1:], new) if str(key) == path[0] else one for key, one in value.items()}
    return [replaced(one, path[1:], new) if str(at) == path[0] else one for at, one in enumerate(value)]


def paths(value, at=()):
    yield at
    if isinstance(value, dict):
        for key, one in value.items():
            yield from paths(one, (*at, str(key)))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from paths(one, (*at, str(number)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["small", "helper"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["env", "value", "options", "name"]), inner, max_size=3)
    ),
    max_leaves=5,
)
WHOLE = [yaml.safe_load(text) for text in TEXTS]
PLACES = [(number, path) for number, whole in enumerate(WHOLE) for path in paths(whole) if path]


@FEWER
@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_read_or_refused_and_nothing_else(place, value):
    """A value of the wrong type anywhere is told, with the place, and never a traceback of the parser's."""
    number, path = place
    message = told(json.dumps(replaced(WHOLE[number], path, value)))
    assert message is None or message.startswith("c.yaml")
