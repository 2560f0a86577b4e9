"""Scorers and judges: what turns an output into a score from 0 to 1 and feedback."""

from udfs.scorers.function import FunctionScorer
from udfs.scorers.judges import CorrectnessJudge, EquivalenceJudge, GuidelinesJudge
from udfs.scorers.protocol import Comparing, Graded, Judge, Score, Scorer, Subject, Weighted
from udfs.scorers.registry import build_mix, build_scorer, mix
from udfs.scorers.structured import JsonEquality, JsonSchema, NumericCloseness
from udfs.scorers.text import Contains, ExactMatch, ExpectedFacts, Regex, TokenF1

__all__ = [
    "Comparing",
    "Contains",
    "CorrectnessJudge",
    "EquivalenceJudge",
    "ExactMatch",
    "ExpectedFacts",
    "FunctionScorer",
    "Graded",
    "GuidelinesJudge",
    "JsonEquality",
    "JsonSchema",
    "Judge",
    "NumericCloseness",
    "Regex",
    "Score",
    "Scorer",
    "Subject",
    "TokenF1",
    "Weighted",
    "build_mix",
    "build_scorer",
    "mix",
]
