"""The plan of one evaluation: what travels from the driver to its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from udfs.allowance import Allowance
from udfs.endpoint import Endpoint
from udfs.ledger import LedgerLocation
from udfs.parts import Parts
from udfs.prompt import Prompt
from udfs.scorers.protocol import Weighted
from udfs.task_status import StatusFolder


@dataclass(frozen=True)
class EvaluationPlan:
    """What a UDF closes over: plain data, small, picklable.

    ``prompts`` maps candidate ids to prompts; ``tasks`` is how many tasks share the endpoints' limits;
    ``evaluation_id`` names this evaluation's segments, so that a retried task finds its earlier attempts'.
    ``allowance`` is what the whole evaluation may spend; ``watched`` says that the driver has opened its
    ``status_folder``, through which tasks report and are stopped. ``sample`` is the number of the answers that are
    asked for, ``verdict_sample`` that of the judges' verdicts over them: above 0, what was asked before is asked once
    more. With ``replay`` no endpoint is called: what the
    ledger lacks is an error of the kind ``not_in_ledger``. ``parts`` are what the evaluation may use of its endpoints'
    limits to begin with; they change while it runs where others run beside it.
    """

    endpoint: Endpoint
    prompts: Mapping[str, Prompt]
    mix: tuple[Weighted, ...]
    ledger: LedgerLocation
    evaluation_id: str
    run_id: str
    tasks: int = 1
    sample: int = 0
    verdict_sample: int = 0
    allowance: Allowance = field(default_factory=Allowance)
    watched: bool = False
    replay: bool = False
    parts: Parts = field(default_factory=Parts)

    @property
    def status_folder(self) -> StatusFolder:
        """Where the evaluation's tasks and the driver tell each other how it goes."""
        return StatusFolder(self.ledger.root, self.evaluation_id)
