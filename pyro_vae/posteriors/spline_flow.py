"""A coupling flow of splines (Durkan et al., 2019, https://arxiv.org/abs/1906.04032)."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import FlowDistribution, reshaped, zuko
from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["SplineFlow"]


class SplineFlow(nn.Module):
    """z = loc + scale * f(eps), eps ~ N(0, I), with f a stack of rational-quadratic couplings.

    Each coupling bends one half of the numbers by splines, which a network determines from the
    other half and a context, and then the other half. The encoder gives h = (loc, log_scale,
    context). A draw, and the log density of any value, take two passes of each network; with
    `InverseAutoregressiveFlow` a draw takes one, but any other value many.

    Args:
        latent_dim: The size of z, or its shape.
        transforms: The number of couplings.
        hidden: Units of each hidden layer of a coupling's network.
        context: The size of the context.
        bins: The pieces of each spline on [-5, 5]; outside, f is the identity.

    Reference:
        Durkan et al., 2019, https://arxiv.org/abs/1906.04032
    """

    eps_loc: Tensor
    eps_scale: Tensor

    def __init__(
        self,
        latent_dim: LatentDim = 20,
        *,
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        context: int = 16,
        bins: int = 8,
    ) -> None:
        super().__init__()
        check_sizes(
            transforms=transforms,
            hidden=min(hidden, default=1),
            context=context,
            bins=bins,
        )
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)
        size = math.prod(self.shape)
        self.sizes, self.param_shape = [size, size, context], (2 * size + context,)
        self.flow = zuko.flows.NSF(
            size, context, bins, transforms=transforms, passes=2, hidden_features=hidden
        )
        self.register_buffer("eps_loc", torch.zeros(size), persistent=False)
        self.register_buffer("eps_scale", torch.ones(size), persistent=False)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *shape)."""
        loc, log_scale, context = h.split(self.sizes, -1)
        whiten = AffineTransform(loc, log_scale.exp(), event_dim=1).inv
        f_inv = zuko.transforms.ComposedTransform(whiten, self.flow.transform(context))
        eps = dist.Normal(self.eps_loc, self.eps_scale).to_event(1).expand(h.shape[:-1])
        q = FlowDistribution(zuko.distributions.NormalizingFlow(f_inv, eps))
        return reshaped(q, self.shape)
