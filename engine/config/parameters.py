"""``${var.NAME}``: what a configuration leaves open, put in where the file is read.

Values go into YAML's nodes, never into its text: a value is always one scalar, whatever stands in it, and references
in comments are none. A scalar that is nothing but an unquoted reference takes the value as it is, so that a default of
5 is a number; what comes from the command line or the environment is text, and so is what stands in quotes or amid
other text.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from engine.config.remarks import Remarks
from engine.errors import ConfigError

# dao-ai's own pattern; `$${var.NAME}` is the text `${var.NAME}`.
_REFERENCE = re.compile(
    r"\$(?P<escaped>\$\{(?:var|param)\.[^}]*\})"
    r"|\$\{(?:param|var)\.(?P<name>[a-zA-Z_][a-zA-Z0-9_.\-]*)(?::-(?P<fallback>[^}]*))?\}"
)
_WORKSPACE = re.compile(r"\$\{workspace\.[a-zA-Z_][a-zA-Z0-9_.]*\}")
_BARE = re.compile(r"\$\{([a-zA-Z_][a-zA-Z0-9_]*)\}")
_TEXT = "tag:yaml.org,2002:str"
_PREFIX = "PROMPTMILL_"

# dao-ai puts values in before it parses, so that a reference may stand where YAML takes no braces. These stand for `$`,
# `{` and `}` while a file is parsed: letters of nobody's alphabet, one for one, so that every place stays where it is.
_DISGUISE = {"$": "\ue000", "{": "\ue001", "}": "\ue002"}
_UNDISGUISE = str.maketrans({letter: sign for sign, letter in _DISGUISE.items()})

# Only these are read, so only in these a reference must have a value.
OUR_SECTIONS = ("variables", "schemas", "resources", "prompts", "agents", "optimizations", "spark", "storage", "mlflow")


@dataclass(frozen=True)
class _Declared:
    default: yaml.ScalarNode | None


def disguised(text: str) -> str:
    """Return a file's text with its references such as any YAML may hold them; :func:`undisguise` the parsed nodes.

    >>> len(disguised("{a: ${var.b}}")) == len("{a: ${var.b}}")
    True
    """
    if any(letter in text for letter in _DISGUISE.values()):
        return text
    return _REFERENCE.sub(lambda found: re.sub(r"[${}]", lambda sign: _DISGUISE[sign[0]], found[0]), text)


def undisguise(root: yaml.Node) -> None:
    """Give all scalars below, in place, the text that they have in the file."""
    for scalar in _scalars([root], set()):
        scalar.value = scalar.value.translate(_UNDISGUISE)


def substitute(
    root: yaml.Node, params: Mapping[str, Any], environ: Mapping[str, str], path: str, remarks: Remarks
) -> None:
    """Put into the sections that are read, in place, what their references stand for.

    The first that has a value: ``params``, the variable ``PROMPTMILL_NAME``, the declared default, the reference's own
    fallback.

    Raises:
        ConfigError: a reference has no value or is not declared, or a parameter is not known or no scalar.
    """
    if not isinstance(root, yaml.MappingNode):
        return
    declared = _declared(root, path)
    values = _Values(params, environ, declared, path, remarks)
    if declared is not None:
        values.check_used()
    seen: set[int] = set()
    for key, value in root.value:
        if isinstance(key, yaml.ScalarNode) and key.value in OUR_SECTIONS:
            for scalar in _scalars(_read_part(key.value, value), seen):
                values.put_into(scalar)
    values.check_used()


def _read_part(section: str, value: yaml.Node) -> list[yaml.Node]:
    """Of resources only the models are read."""
    if section == "resources" and isinstance(value, yaml.MappingNode):
        return [one for key, one in value.value if getattr(key, "value", None) in {"llms", "models"}]
    return [value]


def _scalars(nodes: list[yaml.Node], seen: set[int]) -> Iterator[yaml.ScalarNode]:
    """Yield every scalar below, once, however many aliases lead to it."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield node
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            stack.extend(one for pair in node.value for one in pair)


def _declared(root: yaml.MappingNode, path: str) -> dict[str, _Declared] | None:
    """Read the block ``parameters``; ``None`` where there is none."""
    block = next((value for key, value in root.value if getattr(key, "value", None) == "parameters"), None)
    if block is None:
        return None
    if not isinstance(block, yaml.MappingNode):
        raise ConfigError(f"{_place(block, path)}: parameters is not a mapping; write NAME: {{default: …}} below it")
    found: dict[str, _Declared] = {}
    for key, value in block.value:
        name = str(getattr(key, "value", ""))
        default = None
        for inner, given in value.value if isinstance(value, yaml.MappingNode) else ():
            if getattr(inner, "value", None) not in {"description", "default"}:
                raise ConfigError(
                    f"{_place(inner, path)}: parameters.{name} has the key {getattr(inner, 'value', '')!r}; it takes "
                    "description and default"
                )
            if inner.value == "default" and given.tag != "tag:yaml.org,2002:null":
                if not isinstance(given, yaml.ScalarNode):
                    raise ConfigError(
                        f"{_place(given, path)}: the default of parameters.{name} is a list or a mapping; give a text "
                        "or a number"
                    )
                default = given
        found[name] = _Declared(default)
    return found


class _Values:
    """What each reference stands for, and whether every parameter that was given is one."""

    def __init__(
        self,
        params: Mapping[str, Any],
        environ: Mapping[str, str],
        declared: Mapping[str, _Declared] | None,
        path: str,
        remarks: Remarks,
    ) -> None:
        self._given = {name: _node_of(name, value, path) for name, value in params.items()}
        self._environ = environ
        self._declared = declared
        self._path = path
        self._remarks = remarks
        self._used: set[str] = set()

    def put_into(self, scalar: yaml.ScalarNode) -> None:
        """Replace the references in a scalar, in place."""
        if "${" not in scalar.value:
            return
        place = _place(scalar, self._path)
        whole = _REFERENCE.fullmatch(scalar.value)
        if whole is not None and whole["name"] and not scalar.style and scalar.tag == _TEXT:
            found = self._value(whole, place)
            scalar.tag, scalar.value = found.tag, found.value
            return
        self._tell_of_others(scalar.value, place)
        scalar.value = _REFERENCE.sub(lambda found: found["escaped"] or self._value(found, place).value, scalar.value)

    def check_used(self) -> None:
        """Make sure that every parameter that was given is declared or used.

        Raises:
            ConfigError: one is not.
        """
        known = {*(self._declared or ()), *self._used}
        for name in self._given:
            if name not in known:
                raise ConfigError(
                    f"{self._path}: the parameter {name!r} is given, and the file neither declares nor uses it; "
                    f"{_near(name, known, 'it has')}"
                )

    def _value(self, reference: re.Match[str], place: str) -> yaml.ScalarNode:
        name = reference["name"]
        self._used.add(name)
        if self._declared is not None and name not in self._declared:
            raise ConfigError(
                f"{place}: {reference[0]} names a parameter that the file does not declare; "
                f"{_near(name, self._declared, 'declared are')}"
            )
        if name in self._given:
            return self._given[name]
        plain = re.sub(r"[.\-]", "_", name.upper())
        if _PREFIX + plain in self._environ:
            return yaml.ScalarNode(_TEXT, self._environ[_PREFIX + plain])
        if plain in self._environ:
            self._remarks.warn(
                place,
                f"{reference[0]}: the environment has a variable {plain}, which dao-ai would take for it; promptmill "
                f"takes {_PREFIX}{plain} alone",
            )
        default = self._declared[name].default if self._declared is not None else None
        if default is not None:
            return default
        if reference["fallback"] is not None:
            return yaml.ScalarNode(_TEXT, reference["fallback"])
        raise ConfigError(
            f"{place}: {reference[0]} has no value; give --param {name}=VALUE, set {_PREFIX}{plain}, or declare a "
            f"default under parameters.{name}"
        )

    def _tell_of_others(self, text: str, place: str) -> None:
        """Tell of what looks like a reference and is none; only declared names, as a prompt may hold any text."""
        for found in _WORKSPACE.finditer(text):
            self._remarks.warn(
                place, f"{found[0]} stays as it is: reading a configuration asks no workspace; write the value"
            )
        for found in _BARE.finditer(text):
            if found[1] in (self._declared or ()):
                self._remarks.warn(place, f"{found[0]} stays as it is; write ${{var.{found[1]}}} for the parameter")


def _node_of(name: str, value: Any, path: str) -> yaml.ScalarNode:
    if isinstance(value, str):
        return yaml.ScalarNode(_TEXT, value)
    if value is None or not isinstance(value, bool | int | float):
        raise ConfigError(
            f"{path}: the parameter {name!r} is {type(value).__name__}; give a text, a number or true or false"
        )
    node = yaml.SafeDumper(io.StringIO()).represent_data(value)
    return yaml.ScalarNode(node.tag, node.value)


def _near(name: str, known: Any, words: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"{words}: {', '.join(sorted(known)) or 'none'}"


def _place(node: yaml.Node, path: str) -> str:
    return f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
