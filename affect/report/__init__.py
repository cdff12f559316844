"""Reports: tables, figures and claims from the rows that trials left. Never trains."""

from affect.report.build import build_report
from affect.report.evidence import Evidence, SearchEvidence

__all__ = ["Evidence", "SearchEvidence", "build_report"]
