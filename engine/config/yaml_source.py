"""YAML as parsed: the values, and where every key stands, so that an error can say where."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.config.parameters import disguised, substitute, undisguise
from engine.config.remarks import Remark, Remarks
from engine.errors import ConfigError

KeyPath = tuple[str | int, ...]

# libyaml takes a third of the pure parser's time (measured: 10 MB in 17 s and 59 s); both know the places of all nodes.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A configuration is data that every command reads whole, on the driver, before it does anything else.
_MOST_BYTES = 16_000_000
# What a thousand optimizations that share a data set of a thousand rows by an alias come to; a bomb has 10^10.
_MOST_EXPANDED = 20_000_000
# Deeper than any configuration, and well within Python's recursion limit.
_MOST_NESTED = 100


@dataclass(frozen=True)
class YamlSource:
    """A parsed file: ``values`` as plain Python, ``node`` as the parser saw it, and what there is to tell of it."""

    path: str
    values: dict[str, Any]
    node: yaml.Node | None = None
    remarks: tuple[Remark, ...] = ()

    def where(self, key_path: KeyPath) -> str:
        r"""Return ``file:line`` of the nearest key that the file really has.

        >>> source = parse_yaml("a: {b: 1}\nc: 2", path="x.yaml")
        >>> source.where(("c",)), source.where(("a", "b", "zz"))
        ('x.yaml:2', 'x.yaml:1')
        """
        line = None
        for _, line in _walk(self.node, key_path):  # noqa: B007 - the last one counts
            pass
        return self.path if line is None else f"{self.path}:{line}"

    def has(self, key_path: KeyPath) -> bool:
        """Say whether the file has this very key."""
        return len(list(_walk(self.node, key_path))) == len(key_path)


def read_yaml(path: str | Path, params: Mapping[str, Any] | None = None) -> YamlSource:
    """Read and parse the file, with ``params`` for what ``${var.NAME}`` stands for in it.

    Raises:
        ConfigError: it can't be read, or is not one YAML mapping.
    """
    return parse_yaml(read_text(path), path=str(path), params=params)


def read_text(path: str | Path) -> str:
    """Read the file's text.

    Raises:
        ConfigError: it can't be read, or is too big for a configuration.
    """
    try:
        size = Path(path).stat().st_size
        if size > _MOST_BYTES and Path(path).is_file():
            raise ConfigError(
                f"{path}: has {size / 1e6:,.0f} MB, and a configuration may have {_MOST_BYTES / 1e6:.0f}; put the rows "
                "of its data sets into files, and name them with dataset.path"
            )
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}; give the path of a configuration file") from error


def parse_yaml(text: str, *, path: str = "<text>", params: Mapping[str, Any] | None = None) -> YamlSource:
    """Parse one YAML document whose root is a mapping, and put in what its parameters stand for.

    Raises:
        ConfigError: a syntax error, a second document, an undefined anchor or a duplicate key, with line and column.
    """
    remarks = Remarks()
    try:
        parsed = disguised(text)
        loader = _Loader(parsed)
        try:
            node = loader.get_single_node()
            if node is not None:
                if parsed != text:
                    undisguise(node)
                _check(node, path, {}, ())
                substitute(node, params or {}, os.environ, path, remarks)
            values = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error, path, text)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error or type(error).__name__}") from error
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # What PyYAML's constructors raise for `!!int ""`, `!!bool maybe` or the date 2026-02-30.
        raise ConfigError(f"{path}: a value does not fit its YAML type ({error}); put it in quotes") from error
    if not isinstance(values, dict):
        # Never the values: among them may be a key that somebody pasted.
        raise ConfigError(
            f"{path}: a configuration is a mapping with keys such as 'optimizations', not {type(values).__name__}"
        )
    return YamlSource(path, values, node, tuple(remarks))


def _syntax(error: yaml.MarkedYAMLError, path: str, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
    problem = str(error.problem or error.context)
    if "another document" in problem:
        return f"{place}: a second document begins here; a configuration is one, so take the line --- out"
    if "undefined alias" in problem:
        return (
            f"{place}: {_word_at(mark, text)} is an alias, and no anchor before it has this name; define &name above it"
        )
    if "cannot start any token" in problem and _rest_of_line(mark, text).startswith("\t"):
        return f"{place}: a tab stands here; YAML is indented with spaces"
    return f"{place}: not valid YAML: {problem}"


def _word_at(mark: yaml.Mark | None, text: str) -> str:
    """Return the word that begins at a mark, such as an alias."""
    return (_rest_of_line(mark, text).split() or ["it"])[0].rstrip(",]}:")


def _rest_of_line(mark: yaml.Mark | None, text: str) -> str:
    lines = yaml_lines(text)
    return lines[mark.line][mark.column :] if mark is not None and mark.line < len(lines) else ""


def yaml_lines(text: str) -> list[str]:
    """Return the lines as YAML counts them, each with its end: a form feed ends none, as it does for Python."""
    return re.findall(r"[^\r\n\x85\u2028\u2029]*(?:\r\n|[\r\n\x85\u2028\u2029]|\Z)", text)


def _check(node: yaml.Node, path: str, sizes: dict[int, int], opened: tuple[int, ...]) -> int:
    """Refuse cycles, duplicate keys and aliases that expand without end; return how many nodes there are below.

    Every node is looked at once, however many aliases lead to it.
    """
    known = sizes.get(id(node))
    if known is not None:
        return known
    if id(node) in opened:
        raise ConfigError(f"{_place(node, path)}: an anchor contains itself; take the alias out")
    if len(opened) > _MOST_NESTED:
        raise ConfigError(f"{_place(node, path)}: is nested more than {_MOST_NESTED} levels deep; write it flatter")
    size, inside = 1, (*opened, id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[tuple[str, str]] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = (key.tag, key.value)
                if name in seen and key.value != "<<":
                    raise ConfigError(f"{_place(key, path)}: the key {key.value!r} stands twice; take one out")
                seen.add(name)
            size += _check(key, path, sizes, inside) + _check(value, path, sizes, inside)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check(value, path, sizes, inside) for value in node.value)
    if size > _MOST_EXPANDED:
        raise ConfigError(
            f"{_place(node, path)}: aliases of aliases expand to more than {_MOST_EXPANDED:,} values; write fewer"
        )
    sizes[id(node)] = size
    return size


def _place(node: yaml.Node, path: str) -> str:
    return f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _walk(node: yaml.Node | None, key_path: KeyPath) -> list[tuple[str | int, int]]:
    """Return the keys of ``key_path`` as far as the file has them, each with its line."""
    found: list[tuple[str | int, int]] = []
    for part in key_path:
        step = _step(node, part)
        if step is None and part == "prompt_optimizations" and isinstance(node, yaml.MappingNode):
            # dao-ai's first shape has no such level: its entries stand right below optimizations.
            found.append((part, found[-1][1] if found else 1))
            continue
        if step is None:
            break
        line, node = step
        found.append((part, line))
    return found


def _step(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode):
        if isinstance(part, int) and part < len(node.value):
            return node.value[part].start_mark.line + 1, node.value[part]
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == str(part):
            return key.start_mark.line + 1, value
        if isinstance(key, yaml.ScalarNode) and key.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return next((step for one in merged if (step := _step(one, part)) is not None), None)
