"""What a notebook has that a program lacks: widgets, a page to show things on. Each only where it is.

The same notebook runs on Databricks (``dbutils``, ``displayHTML``), in Jupyter (IPython's display) and, for a test or a
scheduler, as plain Python, where parameters are words ``name=value`` and what is shown is text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any


def parameters(**defaults: str) -> SimpleNamespace:
    """Return the notebook's parameters, each a text, as a namespace.

    On Databricks each is a widget, which a job's ``base_parameters`` set; elsewhere the command line has them. What is
    neither a widget nor given is its default.

    >>> parameters(config="conf/migration.yaml").config
    'conf/migration.yaml'
    """
    widgets = getattr(_of_notebook("dbutils"), "widgets", None)
    if widgets is None:
        return SimpleNamespace(**{**defaults, **_from_words(sys.argv[1:], defaults)})
    found = {}
    for name, default in defaults.items():
        widgets.text(name, default)  # leaves a widget that is there, with its value, as it is
        found[name] = str(widgets.get(name))
    return SimpleNamespace(**found)


def _from_words(words: list[str], known: Mapping[str, str]) -> dict[str, str]:
    """Read ``name=value``; other words, such as those that a kernel is started with, are not ours.

    >>> _from_words(["-f", "kernel.json", "only=a=b", "--x=1"], {"only": ""})
    {'only': 'a=b'}
    """
    pairs = (word.partition("=") for word in words)
    return {name: value for name, sign, value in pairs if sign and name in known}


def show(html: str, text: Callable[[], object]) -> None:
    """Show ``html`` on the notebook's page; where there is none, have ``text`` print instead."""
    shown = displayer()
    if shown is None:
        text()
    else:
        shown(html)


def displayer() -> Callable[[str], object] | None:
    """Return what puts HTML onto the page: Databricks' ``displayHTML``, IPython's in a kernel, else ``None``."""
    of_databricks: Callable[[str], object] | None = _of_notebook("displayHTML")
    if of_databricks is not None:
        return of_databricks
    # Not imported here: where IPython runs a notebook, it has been.
    if getattr(_ipython(), "kernel", None) is None:
        return None
    display: Any = sys.modules["IPython"].display
    return lambda html: display.display(display.HTML(html))


def _of_notebook(name: str) -> Any:
    """Return what the notebook's own namespace has under ``name``: Databricks puts its functions there."""
    shell = _ipython()
    spaces = ({} if shell is None else shell.user_ns, vars(sys.modules["__main__"]))
    return next((space[name] for space in spaces if name in space), None)


def _ipython() -> Any:
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()
