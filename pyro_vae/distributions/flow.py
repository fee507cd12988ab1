"""Normalizing flows as distributions; and zuko, the library of them.

Import zuko from here: importing it by itself turns the validation of all distributions off.
"""

from collections.abc import Sequence
from typing import Self

import pyro
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor
from torch.distributions import constraints

# This puts the validation back.
with pyro.settings.context(
    validate_distributions_torch=pyro.settings.get("validate_distributions_torch")
):
    import zuko

__all__ = ["FlowDistribution", "zuko"]


class FlowDistribution(ZukoToPyro):
    """A flow of zuko as a Pyro distribution that also has `rsample`, `sample` and a support.

    A flow makes the log density of a draw together with the draw. This keeps it for `log_prob`.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector

    @property
    def event_shape(self) -> torch.Size:  # zuko's broadcasts it with the batch of a transform
        """The shape of one draw, (d,)."""
        return self.dist.base.event_shape

    def __call__(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """As `rsample`."""
        return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d), with a gradient."""
        z, self.cache[z] = self.dist.rsample_and_log_prob(torch.Size(sample_shape))
        return z

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d), without a gradient."""
        with torch.no_grad():  # not remembered: their log densities would have no gradient
            return self.dist.rsample(torch.Size(sample_shape))

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """The same flow in another batch shape, into which its own expands."""
        return type(self)(self.dist.expand(torch.Size(batch_shape)))
