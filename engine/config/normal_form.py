"""Every shape that dao-ai's configuration has had, brought to the one that ``AppConfig`` validates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.config import foreign_keys, references
from engine.config.generations import OWN, Change, changes, generation_of
from engine.config.parameters import OUR_SECTIONS
from engine.config.remarks import Remark, Remarks
from engine.config.variables import resolve_below
from engine.config.yaml_source import KeyPath, YamlSource

# Sections that say something to the reader alone: of variables only those that are used by anchor.
_FOR_READING = ("version", "parameters", "variables")
_SECTIONS = tuple(section for section in OUR_SECTIONS if section not in _FOR_READING)
_ENTRIES = ("optimizations", "prompt_optimizations")
_BESIDE = ("prompt_optimizations", "training_datasets", "cache_threshold_optimizations")
_MODELS = ("source_model", "reflection_model", "scorer_model")


@dataclass(frozen=True)
class Reading:
    """How a file was understood: each optimization's generation, what was changed of it, and what there is to tell."""

    generations: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


def normal_form(source: YamlSource) -> tuple[dict[str, Any], Reading]:
    """Return what the file says in promptmill's own shape, and how it was understood.

    Nothing of ``source`` is changed.

    Raises:
        ConfigError: a name means nothing, or a variable is not well formed.
    """
    remarks = Remarks(source.remarks)
    reader = _Reader(source, remarks)
    values = reader.values()
    return values, Reading(reader.generations, reader.changed, tuple(remarks))


class _Reader:
    """One pass over a file. What an anchor names is normalised once, and stays one object."""

    def __init__(self, source: YamlSource, remarks: Remarks) -> None:
        self._source = source
        self._remarks = remarks
        read = {key: source.values[key] for key in _SECTIONS if key in source.values}
        if isinstance(read.get("resources"), dict):
            read["resources"] = {key: read["resources"][key] for key in ("llms", "models") if key in read["resources"]}
        self._values: dict[str, Any] = resolve_below(read, (), source, remarks)
        self._done: dict[tuple[str, int], Any] = {}
        self._llms: Mapping[str, Any] = {}
        self._prompts: Any = {}
        self._agents: Any = {}
        self._datasets: Any = {}
        self._schemas: Any = {}
        self.generations: dict[str, str] = {}
        self.changed: dict[str, tuple[Change, ...]] = {}

    def values(self) -> dict[str, Any]:
        """Return the sections that are read, in promptmill's own shape."""
        self._tell_unread()
        values = {key: value for key, value in self._values.items() if value is not None}
        self._schemas = self._each(values, "schemas", self._schema)
        self._llms = self._models(values)
        self._prompts = self._each(values, "prompts", self._prompt)
        self._agents = self._each(values, "agents", self._agent)
        if isinstance(values.get("agents"), dict):
            values["agents"] = {key: one for key, one in self._agents.items() if not self._has_no_model(key, one)}
        if "optimizations" in values:
            values["optimizations"] = self._optimizations(values["optimizations"])
        if not self.generations and self._looks_like_dao():
            self._remarks.note(
                self._source.path,
                "names nothing to optimize: it has no optimizations.prompt_optimizations (dao-ai has had none since "
                "0.1.113)",
            )
        return values

    def _tell_unread(self) -> None:
        known = {*_SECTIONS, *_FOR_READING}
        unread = [str(key) for key in self._source.values if key not in known]
        resources = self._source.values.get("resources")
        if isinstance(resources, dict):
            unread += [f"resources.{key}" for key in resources if key not in {"llms", "models"}]
        if unread:
            self._remarks.note(self._source.path, f"not read: {', '.join(unread)}")

    def _looks_like_dao(self) -> bool:
        return bool({"agents", "prompts", "resources", "optimizations"} & self._source.values.keys())

    def _each(self, values: dict[str, Any], section: str, normal: Callable[[Any, KeyPath], Any]) -> Any:
        """Normalise each value of a section, in place; what is no mapping stays, to be refused."""
        if isinstance(values.get(section), dict):
            values[section] = {key: normal(one, (section, str(key))) for key, one in values[section].items()}
        return values.get(section) or {}

    def _once(self, kind: str, value: Any, at: KeyPath, normal: Callable[[dict[str, Any], KeyPath], Any]) -> Any:
        if not isinstance(value, dict):
            return value
        key = (kind, id(value))
        if key not in self._done:
            # The value is kept beside what it became: an id is only one's own while its object lives.
            self._done[key] = (value, normal(value, at))
        return self._done[key][1]

    def _models(self, values: dict[str, Any]) -> Mapping[str, Any]:
        resources = values.get("resources")
        if not isinstance(resources, dict):
            return {}
        pool: dict[str, Any] = {}
        for section, models in resources.items():
            if isinstance(models, dict):
                resources = {
                    **resources,
                    section: {key: self._model(one, ("resources", section, str(key))) for key, one in models.items()},
                }
                pool = {**resources[section], **pool}
        values["resources"] = {"llms": pool} if len(resources) > 1 else resources
        return pool

    def _model(self, value: Any, at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        if isinstance(value, str):
            return references.model(value, self._llms, where, name)
        return self._once("model", value, at, lambda one, _: foreign_keys.model(one, where, name, self._remarks))

    def _schema(self, value: Any, at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        if isinstance(value, str):
            return references.by_name(value, self._schemas, where, name)
        return foreign_keys.without(value, foreign_keys.SCHEMA, where, name, self._remarks)

    def _prompt(self, value: Any, at: KeyPath) -> Any:
        return self._once("prompt", value, at, self._whole_prompt)

    def _whole_prompt(self, value: dict[str, Any], at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        found: dict[str, Any] = dict(foreign_keys.without(value, foreign_keys.PROMPT, where, name, self._remarks))
        if found.get("tags", 0) is None:
            del found["tags"]
        if "schema" in found:
            found["schema"] = self._schema(found["schema"], (*at, "schema"))
        return found

    def _agent(self, value: Any, at: KeyPath) -> Any:
        return self._once("agent", value, at, self._whole_agent)

    def _whole_agent(self, value: dict[str, Any], at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        found = dict(foreign_keys.agent(value, where, name, self._remarks))
        if "model" in found:
            found["model"] = self._model(found["model"], (*at, "model"))
        if isinstance(found.get("prompt"), str):
            found["prompt"] = references.found(found["prompt"], self._prompts) or found["prompt"]
        elif "prompt" in found:
            found["prompt"] = self._prompt(found["prompt"], (*at, "prompt"))
        return found

    def _has_no_model(self, key: str, agent: Any) -> bool:
        """Tell of an agent that answers through a space of its own; it is no mistake unless it is to be optimized."""
        model = agent.get("model") if isinstance(agent, dict) else None
        if (
            not isinstance(model, dict)
            or "name" in model
            or not any(part.startswith("genie") for part in map(str, model))
        ):
            return False
        self._remarks.note(self._source.where(("agents", key)), f"agents.{key} answers with no model, and is not read")
        return True

    def _dataset(self, value: Any, at: KeyPath) -> Any:
        if isinstance(value, str):
            return references.found(value, self._datasets) or {"name": value}
        return self._once("dataset", value, at, self._whole_dataset)

    def _whole_dataset(self, value: dict[str, Any], at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        found = dict(foreign_keys.without(value, foreign_keys.DATASET, where, name, self._remarks))
        schema = self._schema(found.pop("schema", None), (*at, "schema"))
        if isinstance(schema, dict) and isinstance(found.get("name"), str):
            found["name"] = ".".join(
                [str(schema.get(part, "")) for part in ("catalog_name", "schema_name")] + [found["name"]]
            )
        if not found.get("data", 0) and found.get("name"):
            found.pop("data", None)  # dao-ai's way to say that its rows are in MLflow
        return found

    def _optimizations(self, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        section = dict(section)
        if section.pop("cache_threshold_optimizations", None):
            self._remarks.note(
                self._source.where(("optimizations", "cache_threshold_optimizations")),
                "optimizations.cache_threshold_optimizations is ignored: it tunes a cache, not a prompt",
            )
        at = ("optimizations", "training_datasets")
        if isinstance(section.get(at[1]), dict):
            section[at[1]] = {key: self._dataset(one, (*at, str(key))) for key, one in section[at[1]].items()}
        elif section.get(at[1], 0) is None:
            del section[at[1]]
        self._datasets = section.get(at[1]) or {}
        bare = {
            key: section.pop(key)
            for key in list(section)
            if key not in _BESIDE and isinstance(section[key], dict) and {"agent", "prompt"} & section[key].keys()
        }
        entries = section.get("prompt_optimizations")
        if entries is None:
            entries = section["prompt_optimizations"] = {}
        if isinstance(entries, dict):
            written = {
                **{key: (one, True) for key, one in entries.items()},
                **{k: (one, False) for k, one in bare.items()},
            }
            names = [one.get("name") for one, _ in written.values() if isinstance(one, dict)]
            section["prompt_optimizations"] = {
                key: self._entry(key, one, names, nested=nested) if isinstance(one, dict) else one
                for key, (one, nested) in written.items()
            }
        return section

    def _entry(self, key: Any, written: dict[str, Any], names: list[Any], *, nested: bool) -> dict[str, Any]:
        at = (*_ENTRIES, str(key))
        where = self._source.where(at)
        entry = dict(written)
        if isinstance(entry.get("agent"), str):
            place = (*at, "agent")
            entry["agent"] = references.by_name(
                entry["agent"], self._agents, self._source.where(place), ".".join(place)
            )
        elif "agent" in entry:
            entry["agent"] = self._agent(entry["agent"], (*at, "agent"))
        if "dataset" in entry:
            entry["dataset"] = self._dataset(entry["dataset"], (*at, "dataset"))
        agent: dict[str, Any] = entry["agent"] if isinstance(entry.get("agent"), dict) else {}
        generation = generation_of(written, entry.get("dataset"), nested=nested)
        self.generations[str(key)] = generation
        found = changes(
            written, generation, entry.get("dataset"), self._label(agent.get("model")), where, self._remarks
        )
        self.changed[str(key)] = tuple(found)
        for change in found:
            if change.value is None:
                entry.pop(change.key, None)
            else:
                entry[change.key] = change.value
        for field_name in _MODELS:
            if entry.get(field_name) is not None:
                entry[field_name] = self._model(entry[field_name], (*at, field_name))
        self._name(entry, str(key), names, where)
        self._its_prompt(entry, agent, at)
        return entry

    def _label(self, model: Any) -> Any:
        """Return the key of a model under resources, or the model itself where it stands nowhere else."""
        for label, one in self._llms.items():
            if one is model:
                return str(label)
        return next((str(label) for label, one in self._llms.items() if one == model), model)

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
            return references.prompt(written, self._prompts, where, name, unnamed=unnamed)
        return self._prompt(written, at)


__all__ = ["OWN", "Reading", "normal_form"]
