"""One likelihood for all steps of a sequence."""

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.shapes import check_part

from .unit import Bernoulli

__all__ = ["EachStep"]


class EachStep(nn.Module):
    """Sequences whose steps are independent given h: p(x | h) = prod_t p(x_t | h_t).

    The steps share one likelihood, and so what it learns, such as a scale.

    Args:
        x_shape: The shape of one sequence, (T, *D).
        step: The likelihood of one step, of x_shape D; by default Bernoulli.

    Raises:
        ValueError: If the step is of another shape.

    Reference:
        Krishnan et al., 2017, https://arxiv.org/abs/1609.09869

    Example:
        >>> EachStep((8, 3)).param_shape
        (8, 3)
    """

    def __init__(self, x_shape: Sequence[int], *, step: nn.Module | None = None) -> None:
        super().__init__()
        if not x_shape:
            raise ValueError("x_shape is (), but a sequence needs a first dimension, its steps")
        num_steps, *step_shape = self.x_shape = tuple(x_shape)
        likelihood: Any = Bernoulli(step_shape) if step is None else step
        check_part("EachStep", "step's x_shape", likelihood.x_shape, step_shape)
        self.step = likelihood
        self.param_shape = (num_steps, *likelihood.param_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., T, *param_shape of a step) to a distribution over x (..., *x_shape)."""
        return self.step(h).to_event(1)
