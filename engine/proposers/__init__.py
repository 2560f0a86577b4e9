"""Proposers: what writes new prompts."""
