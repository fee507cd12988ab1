"""Latent diffusion with every step a latent of its own: a hierarchical VAE with a fixed guide."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
from pyro.distributions import TransformedDistribution
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import MLP
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import DiffusionPrior
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts

__all__ = ["LatentDiffusion"]


class LatentDiffusion(PyroModule):
    """z_T ~ N(0, I);  z_t-1 ~ p(z_t-1 | z_t);  x ~ p(x | z_0);  guide: z_0 from x, then noise.

    The guide draws z_0 ~ q(z_0 | x) from the encoder, z_T ~ q(z_T | z_0) and, back down,
    z_t-1 ~ q(z_t-1 | z_t, z_0), which are fixed. `VAE` with a `DiffusionPrior` has the same model
    and the same ELBO, whose sum over steps it estimates from one or sums without drawing a chain.
    Here all steps are sites: a step of training takes T calls of the network, and every estimator
    is right, `IWAE` and `log_likelihood` too. So a prior that was learned there is judged here:

        LatentDiffusion(x_shape, prior=vae.prior, encoder=vae.encoder, decoder=vae.decoder)

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of each z_t, or its shape.
        prior: The steps, by default those of a `DiffusionPrior` with T = 20.
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z_0 | h), by default a Normal with diagonal covariance.
        encoder: A network from x to the posterior's `param_shape`, or what builds it.
        decoder: A network from z_0 to the likelihood's `param_shape`, likewise.
        hidden: Units of each hidden layer of the default encoder; of the default decoder, in
            reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.
        TypeError: If the prior is no `DiffusionPrior`.

    Reference:
        Ho et al., 2020, https://arxiv.org/abs/2006.11239; of latents: Vahdat et al., 2021,
        https://arxiv.org/abs/2106.05931; Rombach et al., 2022, https://arxiv.org/abs/2112.10752

    Example:
        >>> program = LatentDiffusion((1, 28, 28), 10, prior=DiffusionPrior(10, steps=5))
        >>> program.model(torch.zeros(5, 1, 28, 28)).shape
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
        self.prior = parts.prior(prior, partial(DiffusionPrior, steps=20), latent_dim)
        if not isinstance(self.prior, DiffusionPrior):
            raise TypeError(
                f"the prior of a LatentDiffusion is a {type(self.prior).__name__}, but must be a "
                "DiffusionPrior, whose steps become its sites"
            )
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        h_z, h_x = self.posterior.param_shape, self.likelihood.param_shape
        self.encoder = parts.network("encoder", encoder, up, x_shape, h_z)
        self.decoder = parts.network("decoder", decoder, down, z_shape, h_x)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z_0, ..., z_T) for x (N, *x_shape)."""
        chain = self.prior.chain
        with pyro.plate("data", len(x)):
            z = pyro.sample(f"z_{len(chain)}", chain.last())
            for t in range(len(chain), 1, -1):
                z = pyro.sample(f"z_{t - 1}", chain.denoised(z, t))
            # The guide draws z_1 given z_0, so that KL(q(z_0 | x) || p(z_0 | z_1)) in closed form
            # would be wrong: in this form no estimator finds one.
            z = pyro.sample("z_0", TransformedDistribution(chain.denoised(z, 1), []))
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z_0 | x) q(z_T | z_0) prod_t q(z_t-1 | z_t, z_0) for x (N, *x_shape)."""
        chain = self.prior.chain
        with pyro.plate("data", len(x)):
            z_0 = pyro.sample("z_0", self.posterior(self.encoder(x)))
            z = pyro.sample(f"z_{len(chain)}", chain.noised(z_0, len(chain)))
            for t in range(len(chain), 1, -1):
                z = pyro.sample(f"z_{t - 1}", chain.between(z_0, z, t))
