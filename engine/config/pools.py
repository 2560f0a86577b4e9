"""What optimizations refer to: a file's models, schemas, prompts, agents and data sets, each in its normal form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.config import foreign_keys, references
from engine.config.remarks import Remarks
from engine.config.yaml_source import KeyPath, YamlSource
from engine.errors import ConfigError


def named(values: Mapping[Any, Any], at: KeyPath, source: YamlSource) -> dict[str, Any]:
    """Return a section's values by their names as texts; YAML reads some that nobody would take for anything else.

    Raises:
        ConfigError: a name is a truth value, a date or nothing to YAML.
    """
    for key in values:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ConfigError(
                f"{source.where(at)}: a name under {'.'.join(map(str, at))} is {key!r} to YAML (no, yes, on and off "
                "are truth values); put it in quotes"
            )
    return {str(key): value for key, value in values.items()}


class Pools:
    """All that has a name, in the order in which the one may refer to the other.

    What an anchor names is normalised once, and stays one object.
    """

    def __init__(self, values: dict[str, Any], source: YamlSource, remarks: Remarks) -> None:
        """Take the sections out of ``values`` and put their normal forms in."""
        self._source = source
        self._remarks = remarks
        self._done: dict[tuple[str, int], Any] = {}
        self.schemas: Any = {}
        self.llms: dict[str, Any] = {}
        self.prompts: Any = {}
        self.agents: Any = {}
        self.datasets: Any = {}
        self.schemas = self._each(values, "schemas", self.schema)
        self._models(values)
        self.prompts = self._each(values, "prompts", self.prompt)
        self.agents = self._each(values, "agents", self.agent)
        if isinstance(values.get("agents"), dict):
            values["agents"] = {key: one for key, one in self.agents.items() if not self._has_no_model(key, one)}

    def label(self, model: Any) -> Any:
        """Return the key of a model under resources, or the model itself where it stands nowhere else."""
        labels = [label for label, one in self.llms.items() if one is model]
        return next(iter(labels), None) or next((label for label, one in self.llms.items() if one == model), model)

    def _each(self, values: dict[str, Any], section: str, normal: Callable[[Any, KeyPath], Any]) -> Any:
        """Normalise each value of a section, in place; what is no mapping stays, to be refused."""
        if isinstance(values.get(section), dict):
            pool = named(values[section], (section,), self._source)
            values[section] = {key: normal(one, (section, key)) for key, one in pool.items()}
        return values.get(section) or {}

    def _once(self, kind: str, value: Any, at: KeyPath, normal: Callable[[dict[str, Any], KeyPath], Any]) -> Any:
        if not isinstance(value, dict):
            return value
        key = (kind, id(value))
        if key not in self._done:
            # The value is kept beside what it became: an id is only one's own while its object lives.
            self._done[key] = (value, normal(value, at))
        return self._done[key][1]

    def _models(self, values: dict[str, Any]) -> None:
        """Read ``resources.llms`` and its other name ``models``; a model may be another's key."""
        resources = values.get("resources")
        if not isinstance(resources, dict):
            return
        for section, models in resources.items():
            if isinstance(models, dict):
                at: KeyPath = ("resources", section)
                for key, one in named(models, at, self._source).items():
                    self.llms.setdefault(key, self.model(one, (*at, key)))
        if all(isinstance(models, dict) for models in resources.values()):
            values["resources"] = {next(iter(resources), "llms"): self.llms}

    def model(self, value: Any, at: KeyPath) -> Any:
        """Return a model's normal form; a string is the name of one."""
        where, name = self._source.where(at), ".".join(map(str, at))
        if isinstance(value, str):
            return references.model(value, self.llms, where, name)
        return self._once("model", value, at, lambda one, _: foreign_keys.model(one, where, name, self._remarks))

    def schema(self, value: Any, at: KeyPath) -> Any:
        """Return a schema's normal form; a string is the name of one."""
        where, name = self._source.where(at), ".".join(map(str, at))
        if isinstance(value, str):
            return references.by_name(value, self.schemas, where, name)
        return foreign_keys.without(value, foreign_keys.SCHEMA, where, name, self._remarks)

    def prompt(self, value: Any, at: KeyPath) -> Any:
        """Return a prompt's normal form."""
        return self._once("prompt", value, at, self._whole_prompt)

    def _whole_prompt(self, value: dict[str, Any], at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        found: dict[str, Any] = dict(foreign_keys.without(value, foreign_keys.PROMPT, where, name, self._remarks))
        if found.get("tags", 0) is None:
            del found["tags"]
        if "schema" in found:
            found["schema"] = self.schema(found["schema"], (*at, "schema"))
        return found

    def agent(self, value: Any, at: KeyPath) -> Any:
        """Return an agent's normal form: its model and its prompt."""
        return self._once("agent", value, at, self._whole_agent)

    def _whole_agent(self, value: dict[str, Any], at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        found = dict(foreign_keys.agent(value, where, name, self._remarks))
        if "model" in found:
            found["model"] = self.model(found["model"], (*at, "model"))
        if isinstance(found.get("prompt"), str):
            found["prompt"] = references.found(found["prompt"], self.prompts) or found["prompt"]
        elif "prompt" in found:
            found["prompt"] = self.prompt(found["prompt"], (*at, "prompt"))
        return found

    def dataset(self, value: Any, at: KeyPath) -> Any:
        """Return a data set's normal form; a string is a key of ``training_datasets``, else MLflow's name of one."""
        if isinstance(value, str):
            return references.found(value, self.datasets) or {"name": value}
        return self._once("dataset", value, at, self._whole_dataset)

    def _whole_dataset(self, value: dict[str, Any], at: KeyPath) -> Any:
        where, name = self._source.where(at), ".".join(map(str, at))
        found = dict(foreign_keys.without(value, foreign_keys.DATASET, where, name, self._remarks))
        schema = self.schema(found.pop("schema", None), (*at, "schema"))
        if isinstance(schema, dict) and isinstance(found.get("name"), str):
            found["name"] = ".".join(
                [str(schema.get(part, "")) for part in ("catalog_name", "schema_name")] + [found["name"]]
            )
        if not found.get("data", 0) and found.get("name"):
            found.pop("data", None)  # dao-ai's way to say that its rows are in MLflow
        return found

    def _has_no_model(self, key: str, agent: Any) -> bool:
        """Tell of an agent that answers through a space of its own; it is no mistake unless it is to be optimized."""
        model = agent.get("model") if isinstance(agent, dict) else None
        if not isinstance(model, dict) or "name" in model or not any(str(key).startswith("genie") for key in model):
            return False
        self._remarks.note(self._source.where(("agents", key)), f"agents.{key} answers with no model, and is not read")
        return True
