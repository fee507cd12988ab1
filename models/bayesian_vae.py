"""A VAE whose decoder's weights are latent, too (Kingma and Welling, 2014, appendix F)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import MLP
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts, attach

__all__ = ["BayesianVAE"]


class BayesianVAE(PyroModule):
    """theta ~ N(0, s^2 I);  z ~ p(z);  x ~ p(x | decoder(z; theta));  guide: theta, z independent.

    Full variational Bayes: theta holds all weights of the decoder and is one latent that all data
    share. Its guide is N(loc, diag(scale)^2), where loc is stored as the decoder's parameters. The
    bound is one on log p of the whole data set; `evaluate` takes 1 / num_data of the KL of theta
    off the bound of each datum, held-out ones too. Estimators that need a bound for each datum,
    such as `IWAE`, refuse this program. Parameters of the likelihood are no latents.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, or its shape.
        num_data: The size of the data set, of which x is a batch.
        weight_scale: s, the standard deviation of theta under its prior.
        init_scale: The standard deviation of theta under the guide, at the start.
        prior: p(z), by default N(0, I).
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        encoder: A network from x to the posterior's `param_shape`, as for `VAE`.
        decoder: A network from z to the likelihood's `param_shape`, likewise, without buffers that
            change, such as those of batch normalization.
        hidden: Units of each hidden layer of the default encoder; of the default decoder, in
            reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114, appendix F

    Example:
        >>> vae = BayesianVAE((1, 28, 28), latent_dim=2, num_data=60_000)
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
        num_data: int,
        weight_scale: float = 1.0,
        init_scale: float = 0.01,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
        posterior: nn.Module | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__()
        if num_data < 1:
            raise ValueError(f"num_data must be at least 1, but is {num_data}")
        for name, scale in (("weight_scale", weight_scale), ("init_scale", init_scale)):
            if not 0 < scale < math.inf:
                raise ValueError(f"{name} must be positive and finite, but is {scale}")
        self.num_data, self.weight_scale = num_data, weight_scale
        parts, x_shape, z_shape = Parts(self), tuple(x_shape), latent_shape(latent_dim)
        up, down = (partial(MLP, hidden=h, activation=activation) for h in (hidden, hidden[::-1]))
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        h_z, h_x = self.posterior.param_shape, self.likelihood.param_shape
        self.encoder = parts.network("encoder", encoder, up, x_shape, h_z)
        self.decoder = parts.network("decoder", decoder, down, z_shape, h_x)
        self.log_scale = nn.Parameter(torch.full_like(self._loc(), math.log(init_scale)))
        attach(self.prior, self.encoder, self.posterior)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z, theta) for a batch x (N, *x_shape) of num_data."""
        zero = torch.zeros_like(self.log_scale)
        theta = pyro.sample("theta", dist.Normal(zero, self.weight_scale).to_event(1))
        with self._data(x):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(self._decode(z, theta)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(theta) q(z | x) for a batch x (N, *x_shape) of num_data."""
        pyro.sample("theta", dist.Normal(self._loc(), self.log_scale.exp()).to_event(1))
        with self._data(x):
            pyro.sample("z", self.posterior(self.encoder(x)))

    def _loc(self) -> Tensor:
        return parameters_to_vector(self.decoder.parameters())

    def _data(self, x: Tensor) -> pyro.plate:
        # With the batch for a subsample: given its size alone, Pyro draws a permutation of all.
        return pyro.plate("data", self.num_data, subsample=torch.arange(len(x)))

    def _decode(self, z: Tensor, theta: Tensor) -> Tensor:
        """decoder(z; theta) for z (N, *z_shape), or (K, N, *z_shape) and theta (K, 1, P)."""
        if theta.dim() == 1:
            return self._decode_by_one(z, theta)
        return torch.vmap(self._decode_by_one)(z, theta.squeeze(-2))

    def _decode_by_one(self, z: Tensor, theta: Tensor) -> Tensor:
        parameters = dict(self.decoder.named_parameters())
        parts = theta.split([parameter.numel() for parameter in parameters.values()])
        pairs = zip(parameters.items(), parts, strict=True)
        weights = {name: part.view_as(parameter) for (name, parameter), part in pairs}
        return functional_call(self.decoder, weights, (z,))
