"""What a compiled graph may do to the parameters, once it has their gradients.

The optimizer is not this room's: whoever trains gives its step in these words.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Update"]


class Update(Protocol):
    """A step of an optimizer as operations on tensors, which a graph may take."""

    @property
    def state(self) -> Sequence[Tensor]:
        """The tensors that `apply` changes, the parameters among them."""

    def is_current(self) -> bool:
        """Whether the optimizer is still what it was when the graph was made.

        Asked before each run. If it is not, the graph is compiled again, without the step.
        """

    def numbers(self) -> Tensor:
        """What changes from step to step, such as learning rates: an input of the graph."""

    def apply(self, gradients: Sequence[Tensor], numbers: Tensor, allowed: Tensor) -> None:
        """Takes the step if `allowed`, a 0-dim boolean tensor, is true; else changes nothing."""
