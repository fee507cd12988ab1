"""Estimators side by side on one program: bias, variance, time, memory, held-out likelihood."""

from .compare import compare
from .gradients import is_bound, reference
from .peak_memory import peak_memory
from .result import Comparison

__all__ = [
    "Comparison",
    "compare",
    "is_bound",
    "peak_memory",
    "reference",
]
