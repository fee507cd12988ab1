"""A program's step as one graph, captured once and run without Python.

It alone uses what is private to torch's compiler.
"""

from .capture import Function, Graphs
from .options import Compile
from .report import GraphReport, KindOfCall

__all__ = [
    "Compile",
    "Function",
    "GraphReport",
    "Graphs",
    "KindOfCall",
]
