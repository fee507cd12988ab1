"""A program's step as one graph, captured once and run without Python.

It alone uses what is private to torch's compiler.
"""

from .graphs import Graphs
from .objective import Objective, Outcome, Parameters
from .options import Compile
from .report import GraphReport, KindOfCall, joined_reports, slowest
from .update import Update

__all__ = [
    "Compile",
    "GraphReport",
    "Graphs",
    "KindOfCall",
    "Objective",
    "Outcome",
    "Parameters",
    "Update",
    "joined_reports",
    "slowest",
]
