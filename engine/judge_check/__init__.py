"""Judges are measured, too: against themselves, against the order of texts, and against labels."""

from engine.judge_check.check import prepare
from engine.judge_check.report import JudgeCheck, JudgeReport
from engine.judge_noise import doubts, noise_variance

__all__ = ["JudgeCheck", "JudgeReport", "doubts", "noise_variance", "prepare"]
