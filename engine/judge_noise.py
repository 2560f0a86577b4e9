"""The noise of judges that were measured, kept beside the ledger for every later verdict of the same judges."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from engine.storage import Storage
from udfs.files import read_whole, write_whole
from udfs.scorers.protocol import Judge, Weighted

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Measured:
    """How noisy one judge is at one endpoint; ``noise_variance`` is of one verdict, ``measured_at`` since 1970."""

    endpoint_id: str
    judge_id: str
    answers: int
    self_agreement: float
    noise_variance: float
    measured_at: float


def keep(storage: Storage, judge: Judge, *, answers: int, self_agreement: float, noise_variance: float) -> None:
    """Keep what was measured; the latest measurement stands. What can't be written is a warning."""
    found = Measured(judge.endpoint.endpoint_id, judge.judge_id, answers, self_agreement, noise_variance, time.time())
    try:
        write_whole(_path(storage, judge), json.dumps({"format": FORMAT_VERSION, **asdict(found)}).encode())
    except OSError:
        log.warning("the noise of the judge %s could not be kept in %s", judge.name, storage.root, exc_info=True)


def find(storage: Storage, judge: Judge) -> Measured | None:
    """Return what was measured of this judge, ``None`` where nothing was, or by a later promptmill."""
    try:
        content = read_whole(_path(storage, judge))
        found = json.loads(content) if content else {}
        if found.pop("format", None) != FORMAT_VERSION:
            return None
        return Measured(**found)
    except (OSError, ValueError, TypeError):
        log.warning("the measured noise of the judge %s can't be read", judge.name, exc_info=True)
        return None


def mixed_noise_variance(mix: Sequence[Weighted], of_judge: Callable[[Judge], float | None]) -> float | None:
    """Return the variance that judges' noise gives one row's score, ``None`` where one of them was not measured.

    The score is the weighted mean of the scorers, whose noises are independent; those that compute have none.
    """
    whole = sum(weighted.weight for weighted in mix)
    variance = 0.0
    for weighted in mix:
        if isinstance(weighted.scorer, Judge):
            noise = of_judge(weighted.scorer)
            if noise is None:
                return None
            variance += (weighted.weight / whole) ** 2 * noise
    return variance


def noise_variance(storage: Storage, mix: Sequence[Weighted]) -> float | None:
    """Return the judges' noise variance of one row's score, as measured by ``promptmill judge-check``.

    0 for a mix without judges; ``None`` where a judge was never measured under this storage root. A difference of two
    prompts on one row has twice this variance where their outputs differ, and none where they are the same text
    (which is judged once). The spread over rows that a gate observes holds it already: it is a floor for that spread,
    not an addend.
    """

    def of_judge(judge: Judge) -> float | None:
        found = find(storage, judge)
        return found.noise_variance if found else None

    return mixed_noise_variance(mix, of_judge)


def doubts(storage: Storage, mix: Sequence[Weighted], *, min_agreement: float) -> tuple[str, ...]:
    """Return what a reader of a verdict must know of the judges in ``mix``: never measured, or found wanting."""
    told = []
    for judge in (weighted.scorer for weighted in mix if isinstance(weighted.scorer, Judge)):
        found = find(storage, judge)
        if found is None:
            told.append(f"the judge {judge.name} was never measured here; promptmill judge-check does it")
        elif found.self_agreement < min_agreement:
            told.append(
                f"the judge {judge.name} agrees with itself on {found.self_agreement:.0%} of {found.answers:,} answers "
                f"only, less than the {min_agreement:.0%} that are wanted"
            )
    return tuple(told)


def _path(storage: Storage, judge: Judge) -> str:
    name = hashlib.sha256(f"{judge.endpoint.endpoint_id}|{judge.judge_id}".encode()).hexdigest()
    return f"{storage.root}/judges/v1/{name}.json"
