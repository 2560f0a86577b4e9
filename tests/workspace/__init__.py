"""A fake Databricks workspace that speaks real HTTP on 127.0.0.1: serving endpoints, OAuth, secrets, prompts."""

from .errors import ApiError
from .identity import CLIENT_ID, CLIENT_SECRET, PAT, TOKEN_MARK
from .recording import Request
from .server import Workspace
from .serving import Reply, ServedEndpoint

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "PAT",
    "TOKEN_MARK",
    "ApiError",
    "Reply",
    "Request",
    "ServedEndpoint",
    "Workspace",
]
