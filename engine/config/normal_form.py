"""Every shape that dao-ai's configuration has had, brought to the one that ``AppConfig`` validates."""

from __future__ import annotations

from typing import Any

from engine.config.entries import Entries, Reading
from engine.config.parameters import OUR_SECTIONS
from engine.config.pools import Pools
from engine.config.remarks import Remarks
from engine.config.variables import resolve_below
from engine.config.yaml_source import YamlSource

# Sections that say something to the reader alone: of variables only those that are used by anchor.
_FOR_READING = ("version", "parameters", "variables")
_SECTIONS = tuple(section for section in OUR_SECTIONS if section not in _FOR_READING)


def normal_form(source: YamlSource) -> tuple[dict[str, Any], Reading]:
    """Return what the file says in promptmill's own shape, and how it was understood.

    Nothing of ``source`` is changed.

    Raises:
        ConfigError: a name means nothing, or a variable is not well formed.
    """
    remarks = Remarks(source.remarks)
    read = {key: value for key, value in source.values.items() if key in _SECTIONS and value is not None}
    resources = read.get("resources")
    if isinstance(resources, dict):
        read["resources"] = {key: resources[key] for key in ("llms", "models") if resources.get(key) is not None}
    values: dict[str, Any] = resolve_below(read, (), source, remarks)
    _tell_unread(source, remarks)
    pools = Pools(values, source, remarks)
    entries = Entries(pools, source, remarks)
    if "optimizations" in values:
        values["optimizations"] = entries.normal(values["optimizations"])
    if not entries.generations and {"agents", "prompts", "resources", "optimizations"} & source.values.keys():
        remarks.note(
            source.path,
            "names nothing to optimize: it has no optimizations.prompt_optimizations (dao-ai has had none since "
            "0.1.113)",
        )
    return values, Reading(entries.generations, entries.changed, tuple(remarks))


def _tell_unread(source: YamlSource, remarks: Remarks) -> None:
    known = {*_SECTIONS, *_FOR_READING}
    unread = [str(key) for key in source.values if key not in known]
    resources = source.values.get("resources")
    if isinstance(resources, dict):
        unread += [f"resources.{key}" for key in resources if key not in {"llms", "models"}]
    if unread:
        remarks.note(source.path, f"not read: {', '.join(unread)}")
