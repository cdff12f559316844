"""Reports: tables, figures and claims from the rows that trials left. Never trains."""

from affect.report.build import build_report
from affect.report.evidence import Evidence

__all__ = ["Evidence", "build_report"]
