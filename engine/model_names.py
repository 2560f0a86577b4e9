"""How a model is named in one string, wherever a configuration, a command or Python names one."""

from __future__ import annotations

from udfs.errors import InputError

# MLflow writes `endpoints:/NAME` and `databricks:/NAME` for a serving endpoint, and `openai:/MODEL`.
_PROVIDERS = {"endpoints": "databricks", "databricks": "databricks", "openai": "openai"}


def parse(name: str) -> tuple[str | None, str]:
    """Return the provider that ``name`` says (``None``: it says none), and the endpoint's or model's bare name.

    >>> parse("endpoints:/big"), parse("databricks:/big"), parse("openai:/gpt"), parse("big")
    (('databricks', 'big'), ('databricks', 'big'), ('openai', 'gpt'), (None, 'big'))

    A colon alone is part of a name, as in ``llama3:8b``.

    Raises:
        InputError: the name is empty, or what stands before ``:/`` is no provider that is known.
    """
    given = name.strip()
    scheme, found, bare = given.partition(":/")
    if not found:
        scheme, bare = "", given
    bare = bare.strip("/")
    if not bare:
        raise InputError(f"{name!r} names no model; write endpoints:/NAME, openai:/MODEL or the name alone")
    if not found:
        return None, bare
    if scheme not in _PROVIDERS:
        known = ", ".join(f"{one}:/" for one in _PROVIDERS)
        raise InputError(
            f"the model {name!r} begins with {scheme}:/, no known provider; write {known} or the name alone"
        )
    return _PROVIDERS[scheme], bare
