"""A look at a program before it is trained: its sites, its latents, what would go wrong."""

from .preflight import check
from .report import Report

__all__ = [
    "Report",
    "check",
]
