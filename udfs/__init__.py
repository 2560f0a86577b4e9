"""What travels to executors: endpoints, client, flow control, ledger, prompts, scorers and the pandas UDFs."""

from udfs.endpoint import Endpoint, Limits, Price, Sampling
from udfs.errors import CallError, ErrorKind, InputError, PromptmillError, RowError
from udfs.in_place import current_prompt
from udfs.keys import KeyFile, OAuthClient, Secret, SecretFromEnv
from udfs.ledger import LedgerLocation
from udfs.program import Program
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet
from udfs.rollout import Item, Rollout
from udfs.scorers.protocol import Judge, Score, Scorer, Subject, Weighted

__all__ = [
    "CallError",
    "Endpoint",
    "ErrorKind",
    "InputError",
    "Item",
    "Judge",
    "KeyFile",
    "LedgerLocation",
    "Limits",
    "OAuthClient",
    "Price",
    "Program",
    "Prompt",
    "PromptSet",
    "PromptmillError",
    "Rollout",
    "RowError",
    "Sampling",
    "Score",
    "Scorer",
    "Secret",
    "SecretFromEnv",
    "Subject",
    "Weighted",
    "current_prompt",
]
