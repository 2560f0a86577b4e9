"""The optimizations of a file, each brought to promptmill's own shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.config import references
from engine.config.generations import Change, changes, generation_of
from engine.config.pools import Pools, named
from engine.config.remarks import Remark, Remarks
from engine.config.yaml_source import KeyPath, YamlSource

_SECTION, _LEVEL, _DATASETS, _CACHES = (
    "optimizations",
    "prompt_optimizations",
    "training_datasets",
    "cache_threshold_optimizations",
)
_MODELS = ("source_model", "reflection_model", "scorer_model")


@dataclass(frozen=True)
class Reading:
    """How a file was understood: each optimization's generation, what was changed of it, and what there is to tell."""

    generations: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


class Entries:
    """``optimizations`` in its normal form, and how each of them was understood."""

    def __init__(self, pools: Pools, source: YamlSource, remarks: Remarks) -> None:
        self._pools = pools
        self._source = source
        self._remarks = remarks
        self.generations: dict[str, str] = {}
        self.changed: dict[str, tuple[Change, ...]] = {}

    def normal(self, section: Any) -> Any:
        """Return the section's normal form; what is no mapping stays, to be refused."""
        if not isinstance(section, dict):
            return section
        section = named(section, (_SECTION,), self._source)
        if section.pop(_CACHES, None):
            self._remarks.note(
                self._source.where((_SECTION, _CACHES)),
                f"{_SECTION}.{_CACHES} is ignored: it tunes a cache, not a prompt",
            )
        if section.get(_DATASETS, 0) is None:
            del section[_DATASETS]
        if isinstance(section.get(_DATASETS), dict):
            at = (_SECTION, _DATASETS)
            pool = named(section[_DATASETS], at, self._source)
            section[_DATASETS] = self._pools.datasets = {
                key: self._pools.dataset(one, (*at, key)) for key, one in pool.items()
            }
        bare = {
            key: section.pop(key)
            for key, one in list(section.items())
            if key not in {_LEVEL, _DATASETS} and isinstance(one, dict) and {"agent", "prompt"} & one.keys()
        }
        entries = section.get(_LEVEL) or {}
        section[_LEVEL] = entries
        if isinstance(entries, dict):
            nested = named(entries, (_SECTION, _LEVEL), self._source)
            written = {**bare, **nested}
            names = [one.get("name") for one in written.values() if isinstance(one, dict)]
            section[_LEVEL] = {
                key: self._entry(key, one, names, nested=key in nested) if isinstance(one, dict) else one
                for key, one in written.items()
            }
        return section

    def _entry(self, key: str, written: dict[str, Any], names: list[Any], *, nested: bool) -> dict[str, Any]:
        at = (_SECTION, _LEVEL, key)
        where = self._source.where(at)
        entry = dict(written)
        if isinstance(entry.get("agent"), str):
            place = (*at, "agent")
            entry["agent"] = references.by_name(
                entry["agent"], self._pools.agents, self._source.where(place), ".".join(place)
            )
        elif "agent" in entry:
            entry["agent"] = self._pools.agent(entry["agent"], (*at, "agent"))
        if "dataset" in entry:
            entry["dataset"] = self._pools.dataset(entry["dataset"], (*at, "dataset"))
        agent: dict[str, Any] = entry["agent"] if isinstance(entry.get("agent"), dict) else {}
        generation = generation_of(written, entry.get("dataset"), nested=nested)
        self.generations[key] = generation
        found = changes(
            written, generation, entry.get("dataset"), self._pools.label(agent.get("model")), where, self._remarks
        )
        self.changed[key] = tuple(found)
        for change in found:
            if change.value is None:
                entry.pop(change.key, None)
            else:
                entry[change.key] = change.value
        for field_name in _MODELS:
            if entry.get(field_name) is not None:
                entry[field_name] = self._pools.model(entry[field_name], (*at, field_name))
        self._name(entry, key, names, where)
        self._its_prompt(entry, agent, at)
        return entry

    def _name(self, entry: dict[str, Any], key: str, names: list[Any], where: str) -> None:
        """Name an entry by its key where it has no name, or shares it: its run directory goes by the name."""
        if entry.get("name") is None:
            entry["name"] = key
        elif names.count(entry["name"]) > 1 and entry["name"] != key:
            self._remarks.warn(where, f"its name {entry['name']!r} is another's, too; it goes by its key {key!r}")
            entry["name"] = key

    def _its_prompt(self, entry: dict[str, Any], agent: Mapping[str, Any], at: KeyPath) -> None:
        """Find the prompts that an entry means; without one, the agent's own is meant."""
        place = (*at, "prompt")
        where = self._source.where(place)
        unnamed = f"{agent.get('name', at[-1])}_prompt"
        if entry.get("prompt") is None:
            entry.pop("prompt", None)
            if agent.get("prompt") is not None:
                entry["prompt"] = agent["prompt"]
                if isinstance(agent["prompt"], str):
                    entry["prompt"] = {"name": unnamed, "default_template": agent["prompt"]}
                    self._remarks.note(where, f"the agent's own prompt is rewritten; it is registered as {unnamed}")
        written = entry.get("prompt")
        if isinstance(written, list):
            entry["prompt"] = [self._one_prompt(one, (*place, number), unnamed) for number, one in enumerate(written)]
        elif "prompt" in entry:
            entry["prompt"] = self._one_prompt(written, place, unnamed)

    def _one_prompt(self, written: Any, at: KeyPath, unnamed: str) -> Any:
        if isinstance(written, str):
            where, name = self._source.where(at), ".".join(map(str, at))
            return references.prompt(written, self._pools.prompts, where, name, unnamed=unnamed)
        return self._pools.prompt(written, at)
