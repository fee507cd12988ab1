"""The pre-flight `check`: the sites of a program, and what would go wrong in its training."""

from .preflight import check
from .report import Report

__all__ = [
    "Report",
    "check",
]
