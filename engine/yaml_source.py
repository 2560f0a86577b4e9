"""YAML as parsed: the values, and the line of every key, so that an error can say where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlSource:
    """A parsed file: ``values`` as plain Python, ``lines`` from key path to line number (from 1)."""

    path: str
    values: dict[str, Any]
    lines: dict[KeyPath, int]

    def where(self, key_path: KeyPath) -> str:
        r"""Return ``file:line`` of the nearest key that the file really has.

        >>> source = parse_yaml("a: {b: 1}\nc: 2", path="x.yaml")
        >>> source.where(("c",)), source.where(("a", "b", "zz"))
        ('x.yaml:2', 'x.yaml:1')
        """
        for length in range(len(key_path), 0, -1):
            line = self.lines.get(tuple(key_path[:length]))
            if line is not None:
                return f"{self.path}:{line}"
        return self.path


def read_yaml(path: str | Path) -> YamlSource:
    """Read and parse the file.

    Raises:
        ConfigError: it can't be read, or is not one YAML mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}; give the path of a configuration file") from error
    return parse_yaml(text, path=str(path))


def parse_yaml(text: str, *, path: str = "<text>") -> YamlSource:
    """Parse one YAML document whose root is a mapping.

    Raises:
        ConfigError: a syntax error, a second document, an undefined anchor or a duplicate key, with line and column.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            lines: dict[KeyPath, int] = {}
            if node is not None:
                _note_lines(node, (), lines, path, {})
            values = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        raise ConfigError(f"{place}: not valid YAML: {error.problem or error.context}") from error
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
    return YamlSource(path, values, lines)


def _note_lines(
    node: yaml.Node, at: KeyPath, lines: dict[KeyPath, int], path: str, open_nodes: dict[int, bool]
) -> None:
    """Record the line of every key below ``node``; an alias is followed once a path, a cycle is an error."""
    if id(node) in open_nodes:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: an anchor contains itself; take the alias out")
    open_nodes[id(node)] = True
    if len(lines) > 100_000:
        raise ConfigError(f"{path}: aliases expand to more than 100,000 keys; write fewer aliases of aliases")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(getattr(key, "value", ""))
            if name in seen and name != "<<":
                raise ConfigError(
                    f"{path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}: the key {name!r} stands twice; "
                    "take one out"
                )
            seen.add(name)
            lines[(*at, name)] = key.start_mark.line + 1
            _note_lines(value, (*at, name), lines, path, open_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _note_lines(value, (*at, index), lines, path, open_nodes)
    del open_nodes[id(node)]
