"""A program on the blackboard: its plate diagram, its densities, and its bound in numbers."""

from .explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
