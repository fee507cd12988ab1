"""Any number of stochastic layers, inferred from the data up (Burda et al., 2016, section 5)."""

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
from pyro_vae.wiring import Network, Parts, attach, units_of_each_layer

__all__ = ["HierarchicalVAE"]


class HierarchicalVAE(PyroModule):
    """z_L ~ p(z_L);  z_l ~ p(z_l | z_l+1);  x ~ p(x | z_1);  guide: z_1 from x, z_l+1 from z_l.

    z_1 is next to the data. The guide goes bottom-up: it samples in the reverse of the model's
    order, which `TraceMeanField_ELBO` refuses. The guide of `HVAE` goes top-down.

    Args:
        x_shape: The shape of one datum.
        latent_dims: The size, or the shape, of each of z_1, ..., z_L.
        prior: p(z_L), by default N(0, I).
        likelihood: p(x | h), by default Bernoulli.
        posterior: A class or function that builds q(z_l | h) from the latent_dim of z_l.
        encoders: Networks from x to the h of q(z_1 | h), from z_1 to that of q(z_2 | h), ..., or
            classes that build them from two shapes.
        decoders: Networks from z_1 to the h of p(x | h), from z_2 to that of p(z_1 | h), ...,
            likewise. Each p(z_l | h) is a `DiagonalNormal`.
        hidden: Units of the hidden layers of the default encoder of z_1, of z_2, ..., a tuple each,
            or one tuple for all; the default decoders have them in reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519

    Example:
        >>> vae = HierarchicalVAE((1, 28, 28), (64, 32, 16), hidden=(128,))
        >>> vae.model(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    prior: Any
    likelihood: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dims: Sequence[LatentDim] = (100, 50),
        *,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
        posterior: Callable[[LatentDim], nn.Module] = DiagonalNormal,
        encoders: Sequence[Network] | None = None,
        decoders: Sequence[Network] | None = None,
        hidden: Sequence[int] | Sequence[Sequence[int]] = ((200, 200), (100, 100)),
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        if not latent_dims:
            raise ValueError("latent_dims is empty, but a HierarchicalVAE needs at least one layer")
        parts, x_shape, depth = Parts(self), tuple(x_shape), len(latent_dims)
        self.prior = parts.prior(prior, StandardNormal, latent_dims[-1])
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        posteriors: list[Any] = [
            parts.posterior(None, posterior, dim, name=f"posterior {i}")
            for i, dim in enumerate(latent_dims, start=1)
        ]
        self.posteriors = nn.ModuleList(posteriors)
        self.conditionals = nn.ModuleList(DiagonalNormal(dim) for dim in latent_dims[:-1])

        if encoders is None:
            units = units_of_each_layer(hidden, depth)
            encoders = [partial(MLP, hidden=h, activation=activation) for h in units]
        if decoders is None:
            units = units_of_each_layer(hidden, depth)
            decoders = [partial(MLP, hidden=h[::-1], activation=activation) for h in units]
        shapes = [x_shape, *map(latent_shape, latent_dims)]
        h_up = [q.param_shape for q in posteriors]
        h_down = [p.param_shape for p in (self.likelihood, *self.conditionals)]
        self.encoders = parts.networks("encoder", encoders, MLP, shapes[:-1], h_up)
        self.decoders = parts.networks("decoder", decoders, MLP, shapes[1:], h_down)
        attach(self.prior, self.encoders[-1], self.posteriors[-1])

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z_1, ..., z_L) for x (N, *x_shape)."""
        depth = len(self.decoders)
        with pyro.plate("data", len(x)):
            z = pyro.sample(f"z_{depth}", self.prior())
            for i in range(depth - 1, 0, -1):
                p = self.conditionals[i - 1](self.decoders[i](z))
                z = pyro.sample(f"z_{i}", p)
            return pyro.sample("x", self.likelihood(self.decoders[0](z)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z_1 | x) q(z_2 | z_1) ... for x (N, *x_shape)."""
        layers = zip(self.encoders, self.posteriors, strict=True)
        z = x
        with pyro.plate("data", len(x)):
            for i, (encoder, posterior) in enumerate(layers, start=1):
                z = pyro.sample(f"z_{i}", posterior(encoder(z)))
