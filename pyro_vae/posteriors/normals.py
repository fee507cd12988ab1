"""Normal posteriors."""

import pyro.distributions as dist
from torch import Tensor, nn

__all__ = ["DiagonalNormal"]


class DiagonalNormal(nn.Module):
    """q(z | h) = N(loc, diag(exp(log_scale))^2), with (loc, log_scale) = h.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114
    """

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, but is {latent_dim}")
        self.latent_dim = latent_dim
        self.param_shape = (2, latent_dim)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2, latent_dim) to a distribution over (..., latent_dim)."""
        loc, log_scale = h.unbind(-2)
        return dist.Normal(loc, log_scale.exp()).to_event(1)
