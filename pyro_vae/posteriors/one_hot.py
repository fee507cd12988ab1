"""Posteriors of one class out of many, exact and relaxed (Jang et al.; Maddison et al.)."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.checks import check_positive
from pyro_vae.distributions import OneHotDistribution, RelaxedOneHotDistribution
from pyro_vae.shapes import LatentDim, latent_size

__all__ = ["OneHot", "RelaxedOneHot"]


class OneHot(nn.Module):
    """q(z | h) = Categorical(softmax(h)) on one-hot vectors.

    Its draws carry no gradient: use an estimator that needs none, such as `ScoreFunction`, or sum
    over all classes with `TraceEnum_ELBO`.

    Args:
        latent_dim: The number of classes, which is the size of z.

    Reference:
        Jang et al., 2017, https://arxiv.org/abs/1611.01144
    """

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim = latent_size("OneHot", latent_dim)
        self.param_shape = (self.latent_dim,)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps logits h (..., latent_dim) to a distribution over (..., latent_dim)."""
        return OneHotDistribution(logits=h)


class RelaxedOneHot(nn.Module):
    """q(z | h): softmax((h + Gumbel noise) / temperature), on the simplex, reparameterized.

    It tends to `OneHot` as the temperature falls to 0, while the variance of its gradient grows.

    Args:
        latent_dim: The number of classes, which is the size of z.
        temperature: The temperature of the relaxation.

    Reference:
        Jang et al., 2017, https://arxiv.org/abs/1611.01144;
        Maddison et al., 2017, https://arxiv.org/abs/1611.00712
    """

    def __init__(self, latent_dim: LatentDim = 20, *, temperature: float = 0.5) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.latent_dim = latent_size("RelaxedOneHot", latent_dim)
        self.temperature, self.param_shape = temperature, (self.latent_dim,)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps logits h (..., latent_dim) to a distribution over (..., latent_dim)."""
        return RelaxedOneHotDistribution(self.temperature, h)
