"""A case of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from pyro_vae.inference import Estimator


@dataclass(frozen=True)
class Case:
    """A program, data for it, its estimator, and its loss written by hand."""

    title: str
    program: nn.Module
    x: Tensor  # (batches, batch, *x_shape)
    loss: Estimator
    by_hand: Callable[[Tensor], Tensor]

    def parameters(self) -> list[nn.Parameter]:
        """What is trained: the program's parameters and those of the estimator's modules."""
        return [p for m in (self.program, *self.loss.modules.values()) for p in m.parameters()]
