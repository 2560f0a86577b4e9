"""A program as the target: the function that a configuration names or Python gives, and what its workers need."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from pyspark.sql import SparkSession

from engine.config import PromptOptimizationModel
from engine.errors import ConfigError
from engine.session import ship_package
from udfs.endpoint import Endpoint
from udfs.program import Program, PromptRegistry

_SQLITE = "sqlite:///"


def target_of(settings: PromptOptimizationModel, predict_fn: Callable[..., Any] | Program | None = None) -> Endpoint:
    """Return what is optimized: ``predict_fn``, else the function that the configuration names, else the agent's model.

    A program is told where the prompt registry is, and under which names its prompts stand there.

    Raises:
        ConfigError: the function can't be imported, or there are several prompts and no program.
        InputError: the function can't be run, see :class:`udfs.program.Program`.
    """
    target = settings.agent.model.endpoint()
    found = predict_fn if predict_fn is not None or settings.predict_fn is None else _imported(settings)
    if found is None:
        _ = settings.prompt  # refuses several, of which an endpoint does not know which to take
        return target
    program = found
    if not isinstance(program, Program):
        name = settings.prompts[0].name
        program = Program(settings.agent.name, limits=target.limits, function=program, prompt_name=name)
    if program.registry is not None:
        return program
    # A single prompt goes by the name that the program has for it.
    one = len(settings.prompts) == 1
    names = {prompt.full_name: program.prompt_name if one else prompt.name for prompt in settings.prompts}
    registry = PromptRegistry(_absolute(mlflow.get_tracking_uri()), _absolute(mlflow.get_registry_uri()), names)
    return dataclasses.replace(program, registry=registry)


def ship_program(spark: SparkSession, settings: PromptOptimizationModel, target: Endpoint) -> None:
    """Make the module of the program that the configuration names importable on the workers of ``spark``.

    Installed packages are expected there. What Python gives as ``predict_fn`` travels by cloudpickle alone.
    """
    if settings.predict_fn is None or not isinstance(target, Program):
        return
    module = sys.modules[settings.predict_fn.partition(".")[0].partition(":")[0]]
    source = getattr(module, "__file__", None)
    if source is None or any(Path(source).is_relative_to(folder) for folder in _installed()):
        return
    ship_package(spark, module)


def _imported(settings: PromptOptimizationModel) -> Callable[..., Any] | Program:
    module, _, name = str(settings.predict_fn).partition(":")
    where = f"optimization {settings.name!r}: predict_fn is {settings.predict_fn!r}"
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ConfigError(f"{where}: {error}; mend the name after the colon") from error
    except Exception as error:
        # A user's module may raise anything while it is imported, and none of it is a defect of ours.
        raise ConfigError(
            f"{where}: it can't be imported: {type(error).__name__}: {error}; it is looked for in the folder that the "
            f"command is run in ({os.getcwd()}) and on Python's path"  # noqa: PTH109 - as the user knows it
        ) from error
    if not callable(found) and not isinstance(found, Program):
        raise ConfigError(f"{where}: that is {found!r}; name a function, or a udfs.Program")
    return found  # type: ignore[no-any-return]


def _installed() -> list[str]:
    paths = sysconfig.get_paths()
    return [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]


def _absolute(uri: str) -> str:
    """A store's address as workers can use it, whose working folder is another one."""
    if uri.startswith(_SQLITE) and not uri.startswith(f"{_SQLITE}/"):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
    return str(Path(uri).absolute()) if uri and ":" not in uri and not uri.startswith("databricks") else uri
