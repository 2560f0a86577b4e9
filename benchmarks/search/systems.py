"""What is compared: systems, and the settings that each is tried with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class System:
    """One system in one setting; without ``requirements`` it runs on the interpreter of this command.

    ``wall`` are the settings for measuring time instead of quality, where they differ: what makes a system fast but
    changes nothing of what it does. ``at_once``: how many searches one process can do side by side.
    """

    name: str
    module: str
    requirements: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    wall: Mapping[str, Any] = field(default_factory=dict)
    at_once: int = 1
    note: str = ""


PROMPTMILL = System("promptmill", "promptmill", settings={"spark": False}, wall={"spark": True}, note="as it comes")
GEPA = System("gepa", "gepa_optimize", at_once=4, note="as it comes: one proposal at a time, rows one after another")
GEPA_THREADS = System(
    "gepa, 64 threads",
    "gepa_optimize",
    settings={"threads": 64},
    note="rows of a stage at once: the same search, sooner",
)
GEPA_PARALLEL = System(
    "gepa, 8 proposals, 64 threads",
    "gepa_optimize",
    settings={"threads": 64, "proposals": 8},
    note="its own parallel proposals, IndependentSampling(8)",
)
# 3.18 pins two packages of its own version that not every index has.
MLFLOW = System(
    "mlflow GepaPromptOptimizer",
    "mlflow_gepa",
    ("mlflow>=3.17,<4", "gepa==0.1.4", "litellm"),
    settings={"tracing": False, "workers": 64},
    wall={"tracing": True},
    note="val rows handed through gepa_kwargs; time with traces and threads as they come",
)
MIPRO = System(
    "DSPy MIPROv2",
    "dspy_mipro",
    ("dspy==3.4.1", "optuna>=4,<5"),
    settings={"threads": 16},
    wall={"threads": 8},
    note="instructions alone: in these worlds demonstrations teach nothing",
)

SYSTEMS = (PROMPTMILL, GEPA, GEPA_THREADS, GEPA_PARALLEL, MLFLOW, MIPRO)
# The others are compared with it.
BASELINE = GEPA
