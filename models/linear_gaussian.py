"""Probabilistic PCA, the VAE that can be solved (Tipping and Bishop, 1999)."""

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.shapes import latent_size

__all__ = ["LinearGaussian"]


class LinearGaussian(PyroModule):
    """z ~ N(0, I);  x ~ N(W z + b, sigma^2 I);  guide: z ~ N(V (x - b), D).

    The VAE with linear networks. Its evidence, its posterior and its maximum-likelihood fit are
    known in closed form, so that estimators and training can be tested against exact numbers.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, a number.
        full_covariance: True for any covariance D; then the guide can be the exact posterior. With
            False D is diagonal, and it can be so only if the columns of W are orthogonal.

    Reference:
        Tipping and Bishop, 1999, https://doi.org/10.1111/1467-9868.00196;
        as a VAE: Lucas et al., 2019, https://arxiv.org/abs/1911.02469

    Example:
        >>> program = LinearGaussian((2, 3), latent_dim=2)
        >>> x = torch.randn(100, 2, 3)
        >>> program.maximum_likelihood(x)
        >>> program.log_evidence(x).shape
        torch.Size([100])
    """

    def __init__(
        self, x_shape: Sequence[int], latent_dim: int = 2, *, full_covariance: bool = False
    ) -> None:
        super().__init__()
        self.x_shape, self.latent_dim = tuple(x_shape), latent_size("LinearGaussian", latent_dim)
        self.full_covariance = full_covariance
        x_dim = math.prod(self.x_shape)
        self.W = nn.Parameter(torch.randn(x_dim, latent_dim) / math.sqrt(latent_dim))
        self.b = nn.Parameter(torch.zeros(x_dim))
        self.log_sigma = nn.Parameter(torch.zeros(()))
        self.V = nn.Parameter(torch.randn(latent_dim, x_dim) / math.sqrt(x_dim))
        # The Cholesky factor of D, its diagonal as logarithms.
        shape = (latent_dim, latent_dim) if full_covariance else (latent_dim,)
        self.D = nn.Parameter(torch.zeros(shape))

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z) for x (N, *x_shape)."""
        zero = torch.zeros_like(self.W[0])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            loc = z @ self.W.mT + self.b
            loc = loc.reshape(*loc.shape[:-1], *self.x_shape)
            p = dist.Normal(loc, self.log_sigma.exp()).to_event(len(self.x_shape))
            return pyro.sample("x", p, obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z | x) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", self._guide(self._centred(x) @ self.V.mT))

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x) of each datum, (N,), for x (N, *x_shape)."""
        variance = (2 * self.log_sigma).exp() * torch.ones_like(self.b)
        return dist.LowRankMultivariateNormal(self.b, self.W, variance).log_prob(self._rows(x))

    def posterior(self, x: Tensor) -> dist.MultivariateNormal:
        """The exact p(z | x) of each datum, for x (N, *x_shape)."""
        precision = self._precision()
        loc = torch.linalg.solve(precision, (self._centred(x) @ self.W / self._variance()).mT).mT
        return dist.MultivariateNormal(loc, precision_matrix=precision)

    @torch.no_grad()
    def optimize_guide(self) -> None:
        """Puts the guide where its ELBO is largest: at the posterior, if that is one of its own."""
        precision = self._precision()
        self.V.copy_(torch.linalg.solve(precision, self.W.mT) / self._variance())
        if not self.full_covariance:
            self.D.copy_(-precision.diagonal().log() / 2)
            return
        tril = torch.linalg.cholesky(torch.linalg.inv(precision))
        self.D.copy_(tril.tril(-1) + tril.diagonal().log().diag())

    @torch.no_grad()
    def maximum_likelihood(self, x: Tensor, *, sigma: float | None = None) -> None:
        """Puts the model where p(x) is largest, and the guide at its posterior.

        W holds the principal axes, in order and orthogonal, so the posterior is diagonal too. Of a
        given sigma, those axes along which x varies by no more than sigma^2 collapse: their columns
        of W are 0, and their latents have their prior for a posterior.

        Args:
            x: Data, (N, *x_shape).
            sigma: The scale of the noise; None for where p(x) is largest.
        """
        x_dim, size = len(self.b), len(x)
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, but is {sigma}")
        if not self.latent_dim < min(x_dim, size):
            raise ValueError(
                f"the maximum-likelihood fit of {self.latent_dim} latents needs more data and more "
                f"dimensions than that, but x has {size} data of {x_dim} dimensions"
            )
        self.b.copy_(self._rows(x).mean(0))
        _, values, axes = torch.linalg.svd(self._centred(x), full_matrices=False)
        eigenvalues = values.square() / size  # of the covariance; those left out are 0
        kept, rest = eigenvalues[: self.latent_dim], eigenvalues[self.latent_dim :]
        variance = rest.sum() / (x_dim - self.latent_dim)
        if sigma is not None:
            variance = torch.full_like(variance, sigma**2)
        self.log_sigma.copy_(variance.log() / 2)
        self.W.copy_(axes[: self.latent_dim].mT * (kept - variance).clamp(min=0).sqrt())
        self.optimize_guide()

    def _centred(self, x: Tensor) -> Tensor:
        return self._rows(x) - self.b

    def _rows(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1)

    def _variance(self) -> Tensor:
        return (2 * self.log_sigma).exp()

    def _precision(self) -> Tensor:
        """The precision matrix of the posterior, which is the same for all data."""
        identity = torch.eye(self.latent_dim, dtype=self.W.dtype, device=self.W.device)
        return identity + self.W.mT @ self.W / self._variance()

    def _guide(self, loc: Tensor) -> dist.TorchDistribution:
        if not self.full_covariance:
            return dist.Normal(loc, self.D.exp()).to_event(1)
        tril = self.D.tril(-1) + self.D.diagonal().exp().diag()
        return dist.MultivariateNormal(loc, scale_tril=tril)
