"""An old shape rewritten to today's, in the text itself: nothing but the few keys that mean something else is touched.

The parser that reads configurations knows where each key stands, so comments, order, quotes and indentation stay as
they are. What comes out is read again, and handed back only if it means the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from engine.config.app import AppConfig
from engine.config.generations import OWN, Change
from engine.config.yaml_source import YamlSource, parse_yaml, yaml_lines
from engine.errors import ConfigError

_SECTION, _LEVEL = "optimizations", "prompt_optimizations"


@dataclass(frozen=True)
class _Patch:
    """``text`` in the place of what stands from ``start`` to ``end``, counted in characters."""

    start: int
    end: int
    text: str


def migrate(text: str, *, path: str = "<text>", params: Mapping[str, Any] | None = None) -> str:
    """Return the configuration ``text`` in today's shape; the same text where it is in that shape already.

    Raises:
        ConfigError: the text is no configuration, or what it says can't be rewritten in place.
    """
    before = AppConfig.from_source(parse_yaml(text, path=path, params=params))
    if all(generation == OWN for generation in before.reading.generations.values()):
        return text
    moved = _under_its_level(text, path, params, before)
    source = parse_yaml(moved, path=path, params=params)
    found = _patched(moved, _entry_patches(moved, source, before))
    try:
        same = AppConfig.from_source(parse_yaml(found, path=path, params=params)).model_dump() == before.model_dump()
    except ConfigError:
        same = False
    if not same:
        raise ConfigError(
            f"{path}: its optimizations share keys by << or by an alias in a way that can't be rewritten in place; "
            "write these keys out, or rewrite them by hand after what `promptmill config check` says"
        )
    return found


def _patched(text: str, patches: list[_Patch]) -> str:
    for patch in sorted(patches, key=lambda one: (one.start, one.end), reverse=True):
        text = text[: patch.start] + patch.text + text[patch.end :]
    return text


def _under_its_level(text: str, path: str, params: Mapping[str, Any] | None, config: AppConfig) -> str:
    """Put entries that stand right below ``optimizations`` below ``prompt_optimizations``."""
    section = _child(parse_yaml(text, path=path, params=params).node, _SECTION)
    keys = [key for key, _ in _pairs(section)]
    names = [key.value for key in keys]
    bare = [number for number, name in enumerate(names) if name in config.reading.generations]
    if not bare or (_LEVEL in names and not set(names) - {_LEVEL}):
        return text
    if _LEVEL in names or bare != list(range(bare[0], bare[-1] + 1)):
        raise ConfigError(
            f"{path}: of its optimizations some stand below prompt_optimizations and some do not; move them there by "
            "hand"
        )
    first, last = keys[bare[0]], _pairs(section)[bare[-1]]
    if section is not None and section.flow_style:
        end = _value_end(text, *last)
        return _patched(text, [_Patch(_at(first), _at(first), f"{_LEVEL}: {{"), _Patch(end, end, "}")])
    lines = yaml_lines(text)
    begin = _above_comments(lines, first.start_mark.line)
    after = keys[bare[-1] + 1 :]
    end = _above_comments(lines, after[0].start_mark.line) if after else len(lines)
    indent = " " * first.start_mark.column
    inside = [f"  {line}" if line.startswith(indent) and line.strip() else line for line in lines[begin:end]]
    if not after:
        # The section ends where a line stands further out.
        ends = next(
            (n for n, line in enumerate(lines[begin:end]) if line.strip() and not line.startswith(indent)), None
        )
        inside = inside if ends is None else inside[:ends] + lines[begin + ends : end]
    return "".join([*lines[:begin], f"{indent}{_LEVEL}:\n", *inside, *lines[end:]])


def _entry_patches(text: str, source: YamlSource, config: AppConfig) -> list[_Patch]:
    patches: list[_Patch] = []
    done: set[int] = set()
    for key, entry in _pairs(_child(_child(source.node, _SECTION), _LEVEL)):
        changes = config.reading.changes.get(key.value, ())
        if not changes or id(entry) in done or not isinstance(entry, yaml.MappingNode):
            continue
        done.add(id(entry))
        patches += _of_entry(text, entry, changes, source)
    return patches


def _of_entry(text: str, entry: yaml.MappingNode, changes: tuple[Change, ...], source: YamlSource) -> Iterator[_Patch]:
    written = {key.value: (key, value) for key, value in _pairs(entry)}
    new = {change.key: change.value for change in changes if change.value is not None}
    budget = new.pop("budget", None)
    gone = {change.key for change in changes if change.value is None}
    if "num_candidates" in gone & written.keys():
        yield from _renamed(text, *written["num_candidates"], flow=bool(entry.flow_style), to_budget=budget is not None)
    for name in new:
        if name in written:  # with nothing in it, or it would not be new
            yield _Patch(_at(written[name][0]), _value_end(text, *written[name]), "")
    first = next(iter(written.values()))[0]
    model = _agents_model(entry, source)
    shown = [f"{name}: {_flow(model if isinstance(value, dict) else value)}" for name, value in new.items()]
    if entry.flow_style:
        yield _Patch(_at(first), _at(first), "".join(f"{one}, " for one in shown))
        return
    lines = yaml_lines(text)
    line = _above_comments(lines, first.start_mark.line)
    at = sum(map(len, lines[:line]))
    yield _Patch(at, at, "".join(f"{' ' * first.start_mark.column}{one}\n" for one in shown))


def _renamed(text: str, key: yaml.Node, value: yaml.Node, *, flow: bool, to_budget: bool) -> Iterator[_Patch]:
    """What was called ``num_candidates`` is the budget; its value, its alias and its comment stay as written."""
    end = _value_end(text, key, value)
    if not to_budget:
        comma = len(text[end:]) - len(text[end:].lstrip(" ,")) if flow else 0
        yield _Patch(_at(key), end + comma, "")
    elif flow:
        yield _Patch(_at(key), _end(key), "budget: {max_metric_calls")
        yield _Patch(end, end, "}")
    else:
        yield _Patch(_at(key), _end(key), f"budget:\n{' ' * (key.start_mark.column + 2)}max_metric_calls")


def _agents_model(entry: yaml.MappingNode, source: YamlSource) -> Any:
    """Return the model of an entry's agent as the file has it, for one that stands nowhere but in its agent."""
    agent = _child(entry, "agent")
    if isinstance(agent, yaml.ScalarNode):
        agent = _child(_child(source.node, "agents"), agent.value)
    model = _child(agent, "model")
    return None if model is None else yaml.SafeLoader("").construct_document(model)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True).removesuffix("...\n").strip()


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _child(node: yaml.Node | None, name: str) -> Any:
    return next((value for key, value in _pairs(node) if key.value == name), None)


def _at(node: yaml.Node) -> int:
    return int(node.start_mark.index)


def _end(node: yaml.Node) -> int:
    return int(node.end_mark.index)


def _value_end(text: str, key: yaml.Node, value: yaml.Node) -> int:
    """Return where a value ends; an alias's node stands elsewhere, so its own name is looked for."""
    begin = text.index(":", _end(key)) + 1
    rest = text[begin:]
    blank = len(rest) - len(rest.lstrip(" "))
    if rest[blank : blank + 1] == "*":
        name = rest[blank:].split(maxsplit=1)[0]
        return begin + blank + len(name.rstrip(",}]"))
    return max(begin, _end(value)) if _at(value) >= begin else begin


def _above_comments(lines: list[str], line: int) -> int:
    """Return the first of the comment lines right above a line, else the line itself."""
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
    return line
