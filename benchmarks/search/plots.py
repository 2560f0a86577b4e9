"""Plots of the searches: share of the possible gain against calls, and against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks.search.curves import Curve
from benchmarks.search.table import Curves, systems_of
from benchmarks.search.world import FAMILIES

mpl.use("Agg")
# The same searches give the same file.
mpl.rcParams["svg.hashsalt"] = "search"

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen

_POINTS = 160


def plot_calls(curves: Curves, budget: int, path: Path) -> None:
    """Plot the mean share of the gain against metric calls, one panel a family; bands are standard errors."""
    _plot(curves, path, np.linspace(0, budget, _POINTS), Curve.at_calls, "metric calls")


def plot_seconds(curves: Curves, path: Path) -> None:
    """Plot the mean share of the gain against seconds."""
    most = max(curve.whole_s for found in curves.values() for curve in found)
    _plot(curves, path, np.geomspace(1, most, _POINTS), Curve.at_seconds, "seconds", log=True)


def _plot(curves: Curves, path: Path, points: np.ndarray, value: object, label: str, *, log: bool = False) -> None:
    families = list(dict.fromkeys(family for _, family in curves))
    figure, panels = plt.subplots(1, len(families), figsize=(4.2 * len(families), 3.6), sharey=True, squeeze=False)
    for panel, family in zip(panels[0], families, strict=True):
        for place, system in enumerate(systems_of(curves)):
            found = curves.get((system, family))
            if found:
                mean, error = _band(found, points, value)
                panel.plot(points, mean, color=f"C{place}", label=system, linewidth=1.6)
                panel.fill_between(points, mean - error, mean + error, color=f"C{place}", alpha=0.15, linewidth=0)
        panel.set(title=f"{family} worlds" if family in FAMILIES else family, xlabel=label, ylim=(-0.05, 1.02))
        panel.grid(alpha=0.3)
        if log:
            panel.set_xscale("log")
    panels[0][0].set_ylabel("true quality: share of the possible gain")
    panels[0][-1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _band(found: Sequence[Curve], points: np.ndarray, value: object) -> tuple[np.ndarray, np.ndarray]:
    assert callable(value)  # noqa: S101 - one of Curve's two
    shares = np.array([[value(curve, point) for point in points] for curve in found])
    return shares.mean(axis=0), shares.std(axis=0) / np.sqrt(len(found))
