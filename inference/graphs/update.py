"""What a compiled graph may do to the parameters, once it has their gradients."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Update"]


class Update(Protocol):
    """A step of an optimizer as operations on tensors, which a graph may hold."""

    @property
    def state(self) -> Sequence[Tensor]:
        """The tensors that `apply` changes, the parameters among them."""

    def holds(self) -> bool:
        """Whether the optimizer is still what it was when the graph was made."""

    def numbers(self) -> Tensor:
        """What changes from step to step, such as learning rates: an input of the graph."""

    def apply(self, gradients: Sequence[Tensor], numbers: Tensor, allowed: Tensor) -> None:
        """Takes the step if `allowed`, a 0-dim boolean tensor, is true; else changes nothing."""
