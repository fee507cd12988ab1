"""What a graph is made of, and what a run of it comes to."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Objective", "Outcome", "Parameters"]


class Objective(Protocol):
    """A differentiable function of a program and its arguments, such as a loss."""

    @property
    def model(self) -> Callable[..., Any]:
        """The model."""

    @property
    def guide(self) -> Callable[..., Any]:
        """Its guide."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The modules that a run uses beside those of model and guide, by name."""

    def weights(self, step: int) -> Mapping[str, float]:
        """The values of the schedules at a step, by name."""

    def value(self, args: Any, kwargs: Any, weights: Mapping[str, Any]) -> Tensor:
        """The value, with its autograd graph.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            weights: The values of the schedules: numbers, or tensors where a graph is made.
        """


@dataclass(frozen=True)
class Parameters:
    """The parameters that an objective is differentiated by in one kind of call.

    Args:
        tensors: Those of all kinds of calls, in an order that stays while `version` does.
        stepped: Those among them that the optimizer steps after a call of this kind.
        version: What differs where other tensors are the parameters.
    """

    tensors: Sequence[Tensor] = ()
    stepped: Sequence[Tensor] = ()
    version: Hashable = 0

    @property
    def dtype(self) -> torch.dtype:
        """The type of the first of them."""
        return self.tensors[0].dtype if self.tensors else torch.get_default_dtype()


class Outcome(NamedTuple):
    """What a run comes to.

    Attributes:
        value: The objective's value, detached.
        updated: Whether the parameters are updated already. If not, their gradients are in `grad`.
    """

    value: Any
    updated: bool
