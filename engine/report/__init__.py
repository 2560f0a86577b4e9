"""The HTML report of a run: one file, no script, no request to anywhere."""

from engine.report.html import render_report, write_report

__all__ = ["render_report", "write_report"]
