"""One likelihood for all steps of a sequence."""

from typing import Any

from torch import Tensor, nn

__all__ = ["EachStep"]


class EachStep(nn.Module):
    """One likelihood for all steps: p(x | h) = prod_t p(x_t | h_t)."""

    def __init__(self, likelihood: Any, steps: int) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.x_shape = (steps, *likelihood.x_shape)
        self.param_shape = (steps, *likelihood.param_shape)

    def forward(self, h: Tensor) -> Any:
        return self.likelihood(h).to_event(1)
