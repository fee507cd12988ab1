"""HVAE: two stochastic layers, inferred from the top (Tomczak and Welling, 2018, section 3)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import GatedMLP, JoinedGatedMLP
from pyro_vae.posteriors import BoundedNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts, attach

__all__ = ["HVAE"]


class HVAE(PyroModule):
    """z_2 ~ p(z_2);  z_1 ~ p(z_1 | z_2);  x ~ p(x | z_1, z_2);  guide: z_2 from x, z_1 from both.

    Unlike in `HierarchicalVAE`, x depends on z_2 directly, and not through z_1 alone. q(z_2 | x)
    does not depend on z_1, so that the prior of z_2 can be a `VampPrior`.

    Args:
        x_shape: The shape of one datum.
        latent_dims: The size, or the shape, of z_1 and of z_2.
        prior: p(z_2), by default N(0, I).
        likelihood: p(x | h), by default Bernoulli.
        posterior_1: q(z_1 | h), by default a `BoundedNormal`.
        posterior_2: q(z_2 | h), likewise.
        encoder_1: A network from x and z_2 to posterior_1's `param_shape`, or a class that builds
            it from the pair of their shapes and that; by default a `JoinedGatedMLP`.
        encoder_2: A network from x to posterior_2's `param_shape`, or a class that builds it; by
            default a `GatedMLP`.
        decoder: A network from z_1 and z_2 to the likelihood's `param_shape`, as encoder_1.
        decoder_2: A network from z_2 to the loc and log_scale of p(z_1 | z_2), as encoder_2.
        hidden: Units of each hidden layer of the default networks, two layers at least.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Tomczak and Welling, 2018, https://arxiv.org/abs/1705.07120

    Example:
        >>> prior = VampPrior(40, x_shape=(1, 28, 28), components=50)
        >>> vae = HVAE((1, 28, 28), prior=prior)
        >>> vae.model(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    prior: Any
    likelihood: Any
    posterior_1: Any
    posterior_2: Any
    encoder_1: Any
    encoder_2: Any
    decoder: Any
    decoder_2: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dims: Sequence[LatentDim] = (40, 40),
        *,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
        posterior_1: nn.Module | None = None,
        posterior_2: nn.Module | None = None,
        encoder_1: Network | None = None,
        encoder_2: Network | None = None,
        decoder: Network | None = None,
        decoder_2: Network | None = None,
        hidden: Sequence[int] = (300, 300),
    ) -> None:
        super().__init__()
        if len(latent_dims) != 2:
            raise ValueError(
                f"an HVAE has two latents, but latent_dims is {tuple(latent_dims)}; "
                "take HierarchicalVAE for another number"
            )
        parts, x_shape, (dim_1, dim_2) = Parts(self), tuple(x_shape), latent_dims
        self.prior = parts.prior(prior, StandardNormal, dim_2)
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.posterior_1 = parts.posterior(posterior_1, BoundedNormal, dim_1, name="posterior_1")
        self.posterior_2 = parts.posterior(posterior_2, BoundedNormal, dim_2, name="posterior_2")
        self.conditional = BoundedNormal(dim_1)

        one, two = partial(GatedMLP, hidden=hidden), partial(JoinedGatedMLP, hidden=hidden)
        z_1, z_2 = latent_shape(dim_1), latent_shape(dim_2)
        h_1, h_2, h_x = (
            part.param_shape for part in (self.posterior_1, self.posterior_2, self.likelihood)
        )
        p_1 = self.conditional.param_shape
        self.encoder_2 = parts.network("encoder_2", encoder_2, one, x_shape, h_2)
        self.encoder_1 = parts.network("encoder_1", encoder_1, two, (x_shape, z_2), h_1)
        self.decoder_2 = parts.network("decoder_2", decoder_2, one, z_2, p_1)
        self.decoder = parts.network("decoder", decoder, two, (z_1, z_2), h_x)
        attach(self.prior, self.encoder_2, self.posterior_2)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z_1, z_2) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", self.prior())
            z_1 = pyro.sample("z_1", self.conditional(self.decoder_2(z_2)))
            return pyro.sample("x", self.likelihood(self.decoder(z_1, z_2)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z_2 | x) q(z_1 | x, z_2) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", self.posterior_2(self.encoder_2(x)))
            pyro.sample("z_1", self.posterior_1(self.encoder_1(x, z_2)))
