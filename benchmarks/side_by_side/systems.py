"""What is compared: systems, the settings that each is tried with, and how many rows each is given.

The numbers of rows are chosen so that a run lasts ten to thirty seconds on two cores: a rate needs that long to be one,
and the slowest system would need an hour for the rows of the fastest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The quota of the second table, in requests a second.
QUOTA = 300
_QUOTA_ROWS = 6000


@dataclass(frozen=True)
class Setting:
    """One way to run a system; ``default`` is what it does unasked. ``told`` says that it was told the quota."""

    label: str
    rows: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    default: bool = False


@dataclass(frozen=True)
class Loss:
    """What is killed half way: ``worker``, a Python worker of Spark, or ``process``: everything, then started again."""

    what: str
    setting: Setting


@dataclass(frozen=True)
class System:
    """One system; without ``requirements`` it runs on the interpreter of this command."""

    name: str
    module: str
    requirements: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    speed: tuple[Setting, ...] = ()
    quota: tuple[Setting, ...] = ()
    loss: tuple[Loss, ...] = ()
    note: str = ""
    warm_up_rows: int = 32


_RETRY = "local[2,4]"  # in Spark's own default on clusters a task is tried four times, but in local mode once

BARE = System(
    "bare aiohttp loop",
    "bare",
    ("aiohttp", "uvloop"),
    speed=(
        Setting("1 process, 1024 in flight", 60_000, {"in_flight": 1024}, default=True),
        Setting("2 processes, 2048 in flight", 90_000, {"in_flight": 2048, "processes": 2}),
    ),
    note="no retries, nothing kept: the limit, not a system",
)

PROMPTMILL = System(
    "promptmill",
    "promptmill",
    speed=(
        Setting("nothing configured (at most 512 in flight)", 30_000, default=True),
        Setting("max_concurrency 1024", 90_000, {"limits": {"max_concurrency": 1024}}),
        Setting("max_concurrency 2048", 90_000, {"limits": {"max_concurrency": 2048}}),
    ),
    quota=(
        Setting("told nothing", _QUOTA_ROWS, default=True),
        Setting("told the quota", _QUOTA_ROWS, {"limits": {"requests_per_minute": QUOTA * 60}}),
    ),
    # Long beside the 5 s that an answer may wait for its segment; else the table would show nothing but that wait.
    loss=(
        Loss("worker", Setting("nothing configured", 45_000, {"master": _RETRY})),
        Loss("process", Setting("nothing configured", 45_000, {"master": _RETRY})),
    ),
)

_MLFLOW_TUNED = {"tracing": False, "retries": 10}
MLFLOW = System(
    "mlflow.genai.optimize_prompts",
    "mlflow_optimize_prompts",
    # 3.18 pins two packages of its own version that not every index has.
    ("mlflow>=3.17,<4", "gepa", "openai"),
    speed=(
        Setting("10 threads, traces on, OpenAI client", 400, default=True),
        Setting("64 threads, traces off, OpenAI client", 3000, {"tracing": False, "workers": 64}),
        Setting("64 threads, traces off, http.client", 4000, {"tracing": False, "workers": 64, "client": "plain"}),
        Setting("256 threads, traces off, http.client", 8000, {"tracing": False, "workers": 256, "client": "plain"}),
    ),
    quota=(
        Setting("64 threads, traces off, OpenAI client with 10 retries", _QUOTA_ROWS, _MLFLOW_TUNED | {"workers": 64}),
        Setting("256 threads, the same", _QUOTA_ROWS, _MLFLOW_TUNED | {"workers": 256}),
    ),
    loss=(
        Loss("process", Setting("64 threads, traces off", 3000, {"tracing": False, "workers": 64, "client": "plain"})),
    ),
)

DSPY = System(
    "dspy.Evaluate",
    "dspy_evaluate",
    ("dspy==3.4.1",),
    speed=(
        Setting("dspy.Predict, 8 threads", 500, default=True),
        Setting("dspy.Predict, 64 threads", 3000, {"threads": 64}),
        Setting("model called directly, 64 threads", 4000, {"threads": 64, "program": "direct"}),
        Setting("model called directly, 256 threads", 5000, {"threads": 256, "program": "direct"}),
    ),
    quota=(
        Setting("64 threads", _QUOTA_ROWS, {"threads": 64, "program": "direct"}),
        Setting("256 threads, 10 retries", _QUOTA_ROWS, {"threads": 256, "program": "direct", "retries": 10}),
    ),
    loss=(
        Loss("process", Setting("64 threads, disk cache", 3000, {"threads": 64, "program": "direct", "cache": True})),
    ),
)

SPARK_LLM_EVAL = System(
    "spark-llm-eval",
    "spark_llm_eval_udf",
    ("spark-llm-eval==0.1.3",),
    # With tiktoken it fetches a vocabulary at its first row, and fails each row where there is no network.
    without=("tiktoken",),
    speed=(
        Setting("its runner, local[2]", 100, {"runner": True}, default=True),
        Setting("its UDF alone, one action, local[2]", 200, {}),
        Setting("its UDF alone, one action, local[16]", 1500, {"master": "local[16]", "partitions": 16}),
    ),
    loss=(Loss("worker", Setting("its UDF alone, local[2]", 200, {"master": _RETRY})),),
    note="its runner fails with its own exact_match (it hands it an argument that it does not take), so the benchmark "
    "registers one that takes it; its Delta cache needs a jar from Maven, which the benchmark does not fetch",
)

_DISTRIBATCH_TUNED = {"engine": {"max_concurrency": 64}, "batch_size": 1000}
DISTRIBATCH = System(
    "distribatch",
    "distribatch_job",
    ("distribatch[openai,spark]==0.1.0a1",),
    speed=(
        Setting("16 a worker, batches of 32", 3000, default=True),
        Setting("64 a worker, batches of 1000", 6000, _DISTRIBATCH_TUNED),
        Setting("128 a worker, batches of 10000", 8000, {"engine": {"max_concurrency": 128}, "batch_size": 10_000}),
        Setting("512 a worker, batches of 10000", 8000, {"engine": {"max_concurrency": 512}, "batch_size": 10_000}),
    ),
    quota=(
        Setting("64 a worker, batches of 1000", _QUOTA_ROWS, _DISTRIBATCH_TUNED, default=True),
        Setting(
            "told half of the quota a worker",
            _QUOTA_ROWS,
            {"engine": {"max_concurrency": 128, "requests_per_minute": QUOTA * 30}, "batch_size": 10_000},
        ),
    ),
    loss=(
        Loss(
            "worker",
            Setting("64 a worker", 6000, _DISTRIBATCH_TUNED | {"master": _RETRY}),
        ),
        Loss(
            "process",
            Setting(
                "64 a worker, checkpoint every 2000 rows",
                6000,
                _DISTRIBATCH_TUNED | {"master": _RETRY, "checkpoint": True, "checkpoint_every": 2000},
            ),
        ),
    ),
)

# Measured with 0.7.26: every call of the second query was answered, and the query never ended.
_NO_SECOND_PROMPT = "no warm-up, because the second prompt query of a process hangs"
DAFT = System(
    "Daft prompt",
    "daft_prompt",
    ("daft[openai]==0.7.26",),
    speed=(
        Setting("default", 5000, default=True),
        Setting("concurrency 64", 5000, {"options": {"concurrency": 64}}),
        Setting("batches of 64", 5000, {"batch_size": 64}),
    ),
    quota=(
        Setting("default", _QUOTA_ROWS, default=True),
        Setting("10 retries", _QUOTA_ROWS, {"options": {"max_retries": 10}}),
    ),
    loss=(Loss("process", Setting("default", 3000)),),
    warm_up_rows=0,
    note=_NO_SECOND_PROMPT,
)

_NEWEST_OPENAI = System(
    "Daft prompt, newest OpenAI client",
    "daft_prompt",
    ("daft==0.7.26", "openai>=3.52", "numpy", "pillow"),
    speed=(Setting("default", 5000, default=True),),
    warm_up_rows=0,
    note="daft[openai] pins openai < 2.39; installed beside it against the pin, because newer ones are faster",
)

_COOLDOWN = {"cooldown_seconds": 1.0, "slow_start_items": 0}
ASYNC_BATCH_LLM = System(
    "async-batch-llm",
    "async_batch_llm_prompts",
    ("async-batch-llm[openai]==0.28.0", "aiohttp"),
    speed=(
        Setting("5 workers", 300, default=True),
        Setting("concurrency 64, OpenAI client", 4000, {"config": {"concurrency": 64}}),
        Setting("concurrency 256, OpenAI client", 6000, {"config": {"concurrency": 256}}),
        Setting("concurrency 256, own aiohttp client", 10_000, {"config": {"concurrency": 256}, "client": "aiohttp"}),
        Setting("concurrency 1024, own aiohttp client", 10_000, {"config": {"concurrency": 1024}, "client": "aiohttp"}),
    ),
    quota=(
        Setting(
            "concurrency 128, cooldown 1 s", _QUOTA_ROWS, {"config": {"concurrency": 128}, "rate_limit": _COOLDOWN}
        ),
        Setting(
            "told the quota",
            _QUOTA_ROWS,
            {
                "config": {
                    "concurrency": 128,
                    "max_requests_per_minute": QUOTA * 60,
                    "quota_burst_seconds": 1.0,
                },
                "rate_limit": _COOLDOWN,
            },
        ),
    ),
    loss=(
        Loss(
            "process",
            Setting("concurrency 64, JSONL checkpoint", 4000, {"config": {"concurrency": 64}, "checkpoint": True}),
        ),
    ),
)

SYSTEMS = (
    BARE,
    PROMPTMILL,
    MLFLOW,
    DSPY,
    SPARK_LLM_EVAL,
    DISTRIBATCH,
    DAFT,
    _NEWEST_OPENAI,
    ASYNC_BATCH_LLM,
)
