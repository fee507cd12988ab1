"""The variational autoencoder (Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import MLP
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts, attach

__all__ = ["VAE"]


class VAE(PyroModule):
    """z ~ p(z);  x ~ p(x | decoder(z));  guide: z ~ q(z | encoder(x)).

    Every part is an argument; a part that is not given is built to fit the others.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, or its shape, such as (4, 32, 32) for 4 maps.
        prior: p(z), by default N(0, I).
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        encoder: A network from x to the posterior's `param_shape`; or a class or function that
            builds it from the two shapes, such as `partial(ConvEncoder, channels=(16, 32))`.
        decoder: A network from z to the likelihood's `param_shape`, likewise.
        hidden: Units of each hidden layer of the default encoder; of the default decoder, in
            reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Example:
        >>> vae = VAE((1, 28, 28), latent_dim=2, likelihood=Normal((1, 28, 28)))
        >>> vae.model(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    prior: Any
    likelihood: Any
    posterior: Any
    encoder: Any
    decoder: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: LatentDim = 20,
        *,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
        posterior: nn.Module | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__()
        parts, x_shape, z_shape = Parts(self), tuple(x_shape), latent_shape(latent_dim)
        up, down = (partial(MLP, hidden=h, activation=activation) for h in (hidden, hidden[::-1]))
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        h_z, h_x = self.posterior.param_shape, self.likelihood.param_shape
        self.encoder = parts.network("encoder", encoder, up, x_shape, h_z)
        self.decoder = parts.network("decoder", decoder, down, z_shape, h_x)
        attach(self.prior, self.encoder, self.posterior)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z | x) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(self.encoder(x)))
