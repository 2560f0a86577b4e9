"""What each key is, in a line, for editors that show it beside what is typed. The reference: docs/configuration.md."""

from __future__ import annotations

from collections.abc import Mapping

DESCRIBED: Mapping[str, Mapping[str, str]] = {
    "AppConfig": {
        "schemas": "Unity Catalog schemas, by names that the file uses",
        "prompts": "prompts, by names that the file uses",
        "agents": "models with the prompts that they answer with",
    },
    "ResourcesModel": {"llms": "model endpoints, by names that the file uses"},
    "SchemaModel": {"catalog_name": "the catalog", "schema_name": "the schema in it"},
    "AgentModel": {"name": "what it is called", "prompt": "what it answers with: a prompt, its name, or its text"},
    "PromptModel": {
        "name": "its name in the prompt registry",
        "schema": "the Unity Catalog schema that it is registered in",
        "description": "for people",
        "alias": "the registered version that is meant, such as champion",
        "version": "the registered version that is meant",
        "tags": "for people",
    },
    "LLMModel": {
        "name": "the model's or the serving endpoint's name",
        "description": "for people",
        "provider": "databricks, or openai for anything OpenAI-compatible at base_url",
        "base_url": "http://…/v1; for databricks the workspace, by default the one that databricks-sdk finds",
        "api_key": "where the key is found, never the key",
        "temperature": "sent with every call",
        "max_tokens": "most tokens of an answer",
        "top_p": "sent with every call",
        "seed": "sent with every call",
        "extra": "goes into every request's body as it is",
        "price": "per million tokens",
    },
    "LimitsModel": {
        "max_concurrency": "most calls in flight, of the whole cluster",
        "requests_per_minute": "of the whole cluster, spread evenly",
        "tokens_per_minute": "of the whole cluster, spread evenly",
        "timeout_s": "of one attempt, in seconds",
        "deadline_s": "of a call with its retries, in seconds",
        "max_attempts": "of a call; a 429 is no failed attempt",
        "warm_up_s": "how long an endpoint that starts may answer 503 before it is taken for dead",
    },
    "PriceModel": {
        "prompt_per_million": "of a million prompt tokens",
        "completion_per_million": "of a million answered tokens",
        "currency": "of both",
    },
    "KeyModel": {
        "env": "the environment variable that holds it",
        "scope": "the Databricks secret scope that holds it",
        "oauth": "a client of an OAuth 2.0 server, such as a service principal",
        "file": "a file that holds it, on the driver and on every worker",
    },
    "SecretModel": {"env": "the environment variable that holds it", "scope": "the secret scope that holds it"},
    "OAuthModel": {
        "token_url": "such as https://<workspace>/oidc/v1/token",
        "client_id": "the client's id",
        "scope": "such as all-apis",
    },
    "OptimizationsModel": {
        "prompt_optimizations": "what to do, by name",
        "training_datasets": "data sets that several optimizations name by their key",
    },
    "PromptOptimizationModel": {
        "name": "what its runs are called; its key, where it is not given",
        "reflection_model": "writes new prompts",
        "scorer_model": "asked by judges",
        "scorers": "exact_match, token_f1, expected_facts, {judge: equivalence}, …, each with options and a weight",
        "slices": "tags of the rows to judge by",
    },
    "DatasetModel": {"traces": "MLflow traces"},
    "TracesModel": {
        "experiment": "the MLflow experiment's name",
        "run_id": "only traces of this run",
        "filter": "MLflow's filter of traces",
        "max_traces": "read no more of them",
    },
    "SearchSettings": {
        "max_steps": "most steps of the search",
        "minibatch_size": "rows that a new candidate is first tried on",
        "proposer": "gepa, demos, metaprompt, copro, simba, mipro, a list of them, or auto",
        "num_demos": "most demonstrations in a prompt",
        "max_prompt_tokens": "longer prompts are refused",
        "seed": "of all that is random",
    },
    "SplitSettings": {
        "train": "share of the rows that proposers see",
        "val": "share of the rows that candidates are compared on",
        "holdout": "share of the rows that the verdict rests on",
        "max_train": "most rows of train",
        "max_val": "most rows of val",
    },
    "BudgetSettings": {
        "max_metric_calls": "most (candidate, row) evaluations",
        "max_tokens": "most tokens",
        "max_cost": "most money, in the price's currency",
        "max_duration_s": "most seconds",
    },
    "GateSettings": {
        "min_improvement": "the gain that must be shown",
        "alpha": "how often a worse prompt may be promoted",
        "min_coverage": "share of the rows that must have been scored",
        "max_slice_regression": "how much worse a slice may be",
        "question": "better than the current prompt, no_worse than the source model's answers, or both",
        "non_inferiority_margin": "how much worse than the source model's answers is no worse",
    },
    "JudgeCheckSettings": {
        "min_agreement": "share of equal verdicts below which it warns",
        "min_kappa": "Cohen's kappa below which it warns",
    },
    "SparkModel": {
        "master": "of a classic session",
        "remote": "of a Spark Connect session, such as sc://host:15002",
        "conf": "Spark's settings",
    },
    "MlflowModel": {"tracking_uri": "the tracking store", "experiment": "where runs are recorded"},
}
