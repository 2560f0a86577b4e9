"""Curtailment: rows that can't change a decision any more, or hardly, are not asked for.

Two kinds, both of which compare two prompts on the rows scored for both:

- *Deterministic* (rows of train): once no outcome of the remaining rows could change the verdict, it is the verdict of
  all of them. Nothing is lost.
- *Stochastic* (val): once it is improbable that the rest of val would still put a candidate ahead. Lan, Simon and
  Halperin, "Stochastically curtailed tests in long-term clinical trials", Sequential Analysis 1 (1982), with the
  predictive probability of Spiegelhalter, Freedman and Blackburn, Controlled Clinical Trials 7 (1986), in place of the
  conditional one, and the correction for a finite number of rows: val is what is decided on, not a sample of something.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.statistics import Differences


def minibatch_verdict(differences: Sequence[float], open_befores: Sequence[float]) -> bool | None:
    """Return whether a child's total over its minibatch is above its parent's, ``None`` while that is open.

    ``differences``: child minus parent, of the rows scored for both; ``open_befores``: the parent's scores, 0 to 1, on
    the rows that the child was not asked for yet.

    >>> minibatch_verdict([0.0, 0.0], [1.0, 1.0, 1.0]), minibatch_verdict([1.0, 1.0], [1.0])
    (False, True)
    """
    gained = math.fsum(differences)
    if gained + math.fsum(1.0 - before for before in open_befores) <= _EQUAL:
        return False
    return True if gained - math.fsum(open_befores) > _EQUAL else None


# Sums of scores that differ by less are equal: they are sums of the same numbers in another order.
_EQUAL = 1e-9


def chance_ahead(differences: Differences, *, rows: int, evenness: float = 1.0) -> float:
    """Return the probability that over all ``rows`` the mean difference will be above zero.

    ``evenness`` is the share of ``rows`` that as many rows of equal weight would be worth (Kish's effective size over
    the size). The rest is foreseen as normal around what was seen, its spread taken around zero (under "no
    difference") with one row of +1 and one of -1 added, so that a few rows that are all alike don't make certain.
    1, 0 or, for a tie, 0.5 when all rows were seen; 0.5 when none was.

    >>> round(chance_ahead(Differences.of([-1.0] * 4 + [0.0] * 12), rows=300), 3)
    0.026
    """
    total = float(differences.weights @ differences.counts)
    if not total:
        return 0.5
    seen = total**2 / float(differences.weights**2 @ differences.counts)
    whole = rows * evenness
    mean = differences.mean
    if differences.rows >= rows or seen >= whole:
        return 0.5 if abs(mean) <= _EQUAL else float(mean > 0)
    share = differences.weights * differences.counts / total
    spread = (float(share @ differences.values**2) * seen + 1.0) / (seen + 2.0)
    from scipy.stats import norm

    return float(norm.cdf(mean / math.sqrt(spread / seen * (1.0 - seen / whole))))
