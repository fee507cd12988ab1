"""Whether compiling a training earns its seconds back, from what its steps take where it runs."""

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Payback"]

# Capturing and compiling both are Python at work on the graph, so that one foretells the other on
# any machine: 0.2 to 1.4 s, and 25 to 90 s in another process, by which a training on two cores
# loses a third of them.
_COMPILING = 30.0  # times as long as capturing
_SAVED = 0.4  # of a captured step; the programs of docs/speed.md save 0.18 to 0.83
_BEFORE, _TIMED = 12, 100  # calls: a graph is made at the 2nd or 10th, and then timed


@dataclass
class _Kind:
    calls: int = 0
    seconds: float = 0.0  # of those that are timed


class Payback:
    """Decides for each kind of batch, once, from the time of 100 of its captured steps.

    Compiling it pays if what it is expected to save of the steps that are left, two fifths, is more
    than it is expected to cost, thirty times what capturing took.
    """

    def __init__(self) -> None:
        self.capturing: float | None = None  # seconds
        self._kinds: dict[Hashable, _Kind] = {}
        self._due: set[Hashable] = set()
        self._mode = "eager"

    def is_due(self, kind: Hashable) -> bool:
        """Whether the graph of a kind is to be compiled now; it is said once."""
        is_due = kind in self._due
        self._due.discard(kind)
        return is_due

    def count(self, kind: Hashable, steps: int) -> None:
        """Takes note of steps of a graph that is compiled already."""
        self._kinds.setdefault(kind, _Kind()).calls += steps

    def note(self, kind: Hashable, seconds: float, mode: str, steps_left: int) -> None:
        """Takes note of a step.

        Args:
            kind: What batches of one graph have in common.
            seconds: What the step took.
            mode: How steps run after it, see `SVI.mode`.
            steps_left: Steps to come.
        """
        if self._mode == "eager" and mode == "captured":
            self.capturing = seconds
        self._mode = mode
        noted = self._kinds.setdefault(kind, _Kind())
        noted.calls += 1
        if noted.calls > _BEFORE:
            noted.seconds += seconds
        if mode == "eager" or self.capturing is None or noted.calls != _BEFORE + _TIMED:
            return
        calls = sum(other.calls for other in self._kinds.values())
        left = steps_left * noted.calls / calls
        saved = left * noted.seconds / _TIMED * _SAVED
        if saved > self.capturing * _COMPILING:
            self._due.add(kind)
