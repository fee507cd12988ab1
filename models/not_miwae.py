"""A VAE of data missing not at random (Ipsen et al., 2021, https://arxiv.org/abs/2006.12871)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.likelihoods import Mixed
from pyro_vae.networks import MLP, SelfMasking, ZeroImputed
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.sharing import once
from pyro_vae.wiring import Network, Parts, attach

__all__ = ["NotMIWAE"]


class NotMIWAE(PyroModule):
    """z ~ p(z);  x ~ p(x | decoder(z));  mask ~ p(mask | x), 1 where an entry of x is observed.

    An entry that is NaN is missing, and may be so because of its value. The entries of x that are
    observed are the site "x", and the others the latent "x_unobserved", whose guide is the model's
    own p(x | z): the two cancel in every weight, their rate is 0, and what x_unobserved adds to
    the bound is the density of the mask at its draws:

        log w = log p(x_o | z) + log p(mask | x_o, x_m) + log p(z) - log q(z | x_o),  x_m ~ p(x | z)

    With `IWAE` that is the bound of the paper. If the mask does not depend on x_m, it is MIWAE's,
    a `VAE` with the same parts, and the mask's own log density. `impute` weighs the draws of x_m.

    `Trace_ELBO`, `IWAE`, `STL` and `DReG` have the right gradient; that of the last two keeps a
    noise of x_unobserved that vanishes nowhere, as the decoder is a part of the guide, too.
    `ReweightedWakeSleep` would teach the decoder from the guide's side as well: take another one.
    If the likelihood of some column has no `rsample`, as that of classes and counts, these refuse
    it, and `VIMCO` takes it.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, or its shape.
        prior: p(z), by default N(0, I).
        likelihood: p(x | h), by default `Mixed`: Normal, each entry with a scale of its own. One
            that leaves no missing entries out is put into `Mixed`.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        encoder: A network from x with NaN to the posterior's `param_shape`, or a class that builds
            it from the two shapes, by default `ZeroImputed`.
        decoder: A network from z to the likelihood's `param_shape`, likewise.
        mask_network: A network from x, complete, to the logits that each entry is observed, or a
            class that builds it, by default `SelfMasking`. `partial(SelfMasking, direction=1)`
            knows that large values go missing; `partial(MLP, hidden=())` is linear in all of x,
            and `MLP` any function of it.
        hidden: Units of each hidden layer of the default encoder; of the default decoder, in
            reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Ipsen et al., 2021, https://arxiv.org/abs/2006.12871

    Example:
        >>> program = NotMIWAE((3,), latent_dim=2, mask_network=partial(SelfMasking, direction=1))
        >>> x = torch.tensor([[0.1, torch.nan, -0.3], [1.0, 2.0, 3.0]])
        >>> impute(program, x).x.shape
        torch.Size([2, 3])
    """

    prior: Any
    likelihood: Any
    posterior: Any
    encoder: Any
    decoder: Any
    mask_network: Any

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
        mask_network: Network | None = None,
        hidden: Sequence[int] = (128, 128),
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        parts, z_shape = Parts(self), latent_shape(latent_dim)
        self.x_shape = x_shape = tuple(x_shape)
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        given = parts.likelihood(likelihood, Mixed, x_shape)
        self.likelihood = given if isinstance(given, Mixed) else Mixed(x_shape, columns=[given])
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        up = partial(ZeroImputed, hidden=hidden, activation=activation)
        down = partial(MLP, hidden=hidden[::-1], activation=activation)
        h_z, h_x = self.posterior.param_shape, self.likelihood.param_shape
        self.encoder = parts.network("encoder", encoder, up, x_shape, h_z)
        self.decoder = parts.network("decoder", decoder, down, z_shape, h_x)
        self.mask_network = parts.network(
            "mask_network", mask_network, SelfMasking, x_shape, x_shape
        )
        attach(self.prior, self.encoder, self.posterior)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, mask, z) for x (N, *x_shape)."""
        missing, event_dim = x.isnan(), len(self.x_shape)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            p = self._given(z)
            unobserved = pyro.sample("x_unobserved", self._where(missing, p))
            x = pyro.sample("x", p, obs=x)
            logits = self.mask_network(torch.where(missing, unobserved, x))
            s = dist.Bernoulli(logits=logits).to_event(event_dim)
            pyro.sample("mask", s, obs=(~missing).to(logits.dtype))
            return x

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z | x) and p(x_unobserved | z) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.posterior(self.encoder(x)))
            pyro.sample("x_unobserved", self._where(x.isnan(), self._given(z)))

    def _given(self, z: Tensor) -> Any:
        return self.likelihood(once(self.decoder, z))

    def _where(self, missing: Tensor, p: Any) -> dist.TorchDistribution:
        """The distribution of which only the missing entries count."""
        entries = p.base_dist if self.x_shape else p
        return entries.mask(missing).to_event(len(self.x_shape))
