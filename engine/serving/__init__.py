"""Serving endpoints of Databricks as the driver sees them: who asks, what they are, what executors are handed."""

from engine.serving.description import Description, describe
from engine.serving.handover import located, ready, renewed
from engine.serving.login import Login, log_in

__all__ = ["Description", "Login", "describe", "located", "log_in", "ready", "renewed"]
