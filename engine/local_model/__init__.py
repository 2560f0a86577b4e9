"""Small real models on this machine: which there are, where their weights come from, and how they are served."""

from engine.local_model.errors import (
    HashMismatch,
    LocalModelError,
    ModelRefused,
    RuntimeMissing,
    ServerNotReady,
    SourceFailed,
    UnknownModel,
    WeightsUnavailable,
)
from engine.local_model.models import MODELS, QWEN_CODER_05B, QWEN_CODER_15B, SMOLLM2_135M, LocalModel, find_model
from engine.local_model.process import LocalModelProcess
from engine.local_model.progress import Fetched, LogProgress, Progress
from engine.local_model.server import default_threads, serve
from engine.local_model.weights import default_cache_dir, resolve, resolve_with_fallback

__all__ = [
    "MODELS",
    "QWEN_CODER_05B",
    "QWEN_CODER_15B",
    "SMOLLM2_135M",
    "Fetched",
    "HashMismatch",
    "LocalModel",
    "LocalModelError",
    "LocalModelProcess",
    "LogProgress",
    "ModelRefused",
    "Progress",
    "RuntimeMissing",
    "ServerNotReady",
    "SourceFailed",
    "UnknownModel",
    "WeightsUnavailable",
    "default_cache_dir",
    "default_threads",
    "find_model",
    "resolve",
    "resolve_with_fallback",
    "serve",
]
