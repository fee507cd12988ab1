"""A program's step as one graph, captured once and run without Python.

It alone uses what is private to torch's compiler.
"""

from .capture import Compile, Function, Graphs

__all__ = [
    "Compile",
    "Function",
    "Graphs",
]
