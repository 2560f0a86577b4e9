"""Which endpoints an optimization calls: those whose promises it shares with others."""

from __future__ import annotations

from engine.config import LLMModel, PromptOptimizationModel
from udfs.parts import Place


def places_of(settings: PromptOptimizationModel) -> frozenset[Place]:
    """Return where the target, the judge and the reflection model stand, each once; nothing is imported or read.

    A program has a promise of its own, by the agent's name.
    """
    models: list[LLMModel] = []
    if settings.predict_fn is None:
        models.append(settings.agent.model)
    if settings.scorer_model is not None:
        models.append(settings.scorer_model)
    if settings.reflection_model is not None and settings.search.asks_reflection:
        models.append(settings.reflection_model)
    endpoints = [model.endpoint() for model in models]
    places = {(endpoint.provider, endpoint.base_url, endpoint.name) for endpoint in endpoints}
    if settings.predict_fn is not None:
        places.add(("python", "", settings.agent.name))
    return frozenset(places)
