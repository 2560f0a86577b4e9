"""HTML reports of a run and of a batch: each one file, no script, no request to anywhere."""

from engine.report.batch_page import write_batch_page
from engine.report.html import render_report, write_report

__all__ = ["render_report", "write_batch_page", "write_report"]
