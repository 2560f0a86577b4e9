"""Makes the configured proposers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence

from engine.errors import ConfigError
from engine.proposers.copro import CoproProposer
from engine.proposers.demos import DemosProposer
from engine.proposers.labels import labels_of
from engine.proposers.metaprompt import MetapromptProposer
from engine.proposers.protocol import Proposer
from engine.proposers.reflection import ReflectionProposer
from engine.proposers.reflection_client import ReflectionClient
from engine.proposers.simba import SimbaProposer
from engine.rows import Row
from engine.settings import SearchSettings

# What a proposer needs that not everyone has installed: packages of the extra `dspy`.
_EXTRAS: Mapping[str, tuple[str, ...]] = {"mipro": ("dspy", "optuna")}


def check_proposers(settings: SearchSettings, *, has_reflection_model: bool, where: str = "") -> None:
    """Make sure that the configured proposers have what they need.

    Raises:
        ConfigError: one lacks its reflection model or a package.

    >>> check_proposers(SearchSettings(proposer="demos"), has_reflection_model=False)
    """
    for name in settings.proposers:
        if name != "demos" and not has_reflection_model:
            raise ConfigError(
                f"{where}the proposer {name} needs a reflection_model; name one of resources.llms, or set "
                "proposer: demos"
            )
        lacking = [package for package in _EXTRAS.get(name, ()) if importlib.util.find_spec(package) is None]
        if lacking:
            raise ConfigError(
                f"{where}the proposer {name} needs {' and '.join(lacking)}, which {'are' if lacking[1:] else 'is'} not "
                "installed; pip install 'promptmill[dspy]', or take another of gepa, metaprompt, copro, simba and demos"
            )


def build_proposers(
    settings: SearchSettings, train: Sequence[Row], client: ReflectionClient | None, *, target: str = ""
) -> tuple[Proposer, ...]:
    """Return the proposers in the configured order; one named twice gets two turns a round.

    ``target`` is the name of the model that prompts are written for.

    Raises:
        ConfigError: a proposer lacks its reflection model or a package.
    """
    check_proposers(settings, has_reflection_model=client is not None)
    rows, labels = tuple(train), labels_of(train)
    demos = DemosProposer(rows, settings.num_demos, settings.seed, labels)
    if client is None:
        return tuple(demos for _ in settings.proposers)
    asking = client
    tokens = settings.reflection_tokens

    def mipro() -> Proposer:
        from engine.proposers.mipro import MiproProposer

        return MiproProposer(asking, tokens, rows, settings.num_demos, settings.seed, labels)

    make: dict[str, Callable[[], Proposer]] = {
        "demos": lambda: demos,
        "gepa": lambda: ReflectionProposer(asking, tokens, labels, settings.reflection_map_reduce_from),
        "metaprompt": lambda: MetapromptProposer(asking, tokens, rows, settings.seed, labels, target),
        "copro": lambda: CoproProposer(asking, tokens, labels),
        "simba": lambda: SimbaProposer(asking, tokens),
        "mipro": mipro,
    }
    return tuple(make[name]() for name in settings.proposers)
