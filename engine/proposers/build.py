"""Makes the configured proposers."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import ConfigError
from engine.proposers.demos import DemosProposer
from engine.proposers.protocol import Proposer
from engine.proposers.reflection import ReflectionProposer, labels_of
from engine.proposers.reflection_client import ReflectionClient
from engine.rows import Row
from engine.settings import SearchSettings


def build_proposers(
    settings: SearchSettings, train: Sequence[Row], client: ReflectionClient | None
) -> tuple[Proposer, ...]:
    """Return the proposers in the configured order; one named twice gets two turns a round.

    Raises:
        ConfigError: a proposer lacks its reflection model.
    """
    made: list[Proposer] = []
    for name in settings.proposer:
        if name == "demos":
            made.append(DemosProposer(tuple(train), settings.num_demos, settings.seed, labels_of(train)))
        elif name == "gepa":
            if client is None:
                raise ConfigError("the proposer gepa needs a reflection_model; name one, or set proposer: demos")
            made.append(ReflectionProposer(client, settings.reflection_tokens, labels_of(train)))
    return tuple(made)
