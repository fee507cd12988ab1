"""The conditional variational autoencoder (Sohn et al., 2015, https://papers.nips.cc/paper/5775)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import MLP, Added
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.shapes import InShape, LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts

__all__ = ["ConditionalVAE"]


class ConditionalVAE(PyroModule):
    """z ~ p(z | y);  x ~ p(x | decoder(z, y));  guide: z ~ q(z | encoder(x, y)).

    y is given and has no density. It is a class 0, ..., num_classes - 1, which the networks see
    one-hot; or, if y_shape is given, a condition, which they see flattened. Both are vectors of
    y_dim numbers. Encoder and decoder are networks of two inputs, by default `Added`. A module of
    one input sees the two joined: the numbers of y are further constant channels of x, and further
    entries of z. Either can leave y out: with `decoder_sees_y=False` and a prior p(z | y), x
    depends on y through z alone.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, or its shape.
        num_classes: The number of classes, where y is one.
        y_shape: The shape of one condition, where y is no class.
        prior: p(z), by default N(0, I); or p(z | h), such as the posterior `DiagonalNormal`, with
            h = prior_network(y).
        prior_network: A network from (y_dim,) to the `param_shape` of such a prior, or a class
            that builds it, by default `MLP`.
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        encoder: A network from x and y, of in_shape (x_shape, (y_dim,)), to the posterior's
            `param_shape`, or a class that builds it from the two, such as `ConvEncoder`; or a
            module from (C + y_dim, ...), for an x_shape of (C, ...).
        decoder: A network from z and y to the likelihood's `param_shape`, likewise.
        encoder_sees_y: True for a guide q(z | x, y); False for q(z | x), whose encoder is a network
            from x.
        decoder_sees_y: True for a likelihood p(x | z, y); False for p(x | z), whose decoder is a
            network from z. Then the prior must be one of y.
        hidden: Units of each hidden layer of the default encoder; of the default decoder, in
            reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes. From model
            and guide, while Pyro's validation is on, if a label is no class; without it, such a
            label makes the loss NaN.

    Reference:
        Sohn et al., 2015, https://papers.nips.cc/paper/5775, where the condition is x and what is
        modelled y; for classes: Kingma et al., 2014, https://arxiv.org/abs/1406.5298

    Example:
        >>> cvae = ConditionalVAE((1, 8, 8), latent_dim=2, prior=DiagonalNormal(2))
        >>> cvae.model(torch.zeros(5, 1, 8, 8), torch.arange(5)).shape
        torch.Size([5, 1, 8, 8])
    """

    prior: Any
    likelihood: Any
    posterior: Any
    encoder: Any
    decoder: Any
    classes: Tensor

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: LatentDim = 20,
        *,
        num_classes: int = 10,
        y_shape: Sequence[int] | None = None,
        prior: nn.Module | None = None,
        prior_network: Network | None = None,
        likelihood: nn.Module | None = None,
        posterior: nn.Module | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        encoder_sees_y: bool = True,
        decoder_sees_y: bool = True,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__()
        check_sizes(num_classes=num_classes)
        parts, x_shape, z_shape = Parts(self), tuple(x_shape), latent_shape(latent_dim)
        self.y_shape = None if y_shape is None else tuple(y_shape)
        y_dim = num_classes if y_shape is None else math.prod(y_shape)
        self.encoder_sees_y, self.decoder_sees_y = encoder_sees_y, decoder_sees_y
        self.register_buffer("classes", torch.arange(float(num_classes)), persistent=False)
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        self._check_prior(prior_network)
        self.prior_network = None
        if hasattr(self.prior, "param_shape"):
            mlp, h_y = partial(MLP, hidden=hidden, activation=activation), self.prior.param_shape
            self.prior_network = parts.network("prior_network", prior_network, mlp, (y_dim,), h_y)
        of_x: InShape = (x_shape, (y_dim,)) if encoder_sees_y else x_shape
        of_z: InShape = (z_shape, (y_dim,)) if decoder_sees_y else z_shape
        up = partial(Added if encoder_sees_y else MLP, hidden=hidden, activation=activation)
        down = partial(Added if decoder_sees_y else MLP, hidden=hidden[::-1], activation=activation)
        self.encoder = parts.network("encoder", encoder, up, of_x, self.posterior.param_shape)
        self.decoder = parts.network("decoder", decoder, down, of_z, self.likelihood.param_shape)

    @pyro_method
    def model(self, x: Tensor, y: Tensor) -> Tensor:
        """Samples p(x, z | y) for x (N, *x_shape) and y (N,) or (N, *y_shape)."""
        y = self.seen(y)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior_given(y))
            return pyro.sample("x", self.likelihood_given(z, y), obs=x)

    @pyro_method
    def guide(self, x: Tensor, y: Tensor) -> None:
        """Samples q(z | x, y) for x (N, *x_shape) and y (N,) or (N, *y_shape)."""
        y = self.seen(y)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior_given(x, y))

    def prior_given(self, y: Tensor) -> dist.TorchDistribution:
        """Returns p(z | y) for y (..., y_dim) as the networks see it."""
        return self.prior() if self.prior_network is None else self.prior(self.prior_network(y))

    def likelihood_given(self, z: Tensor, y: Tensor) -> dist.TorchDistribution:
        """Returns p(x | z, y), or p(x | z), for y (..., y_dim) as the networks see it."""
        return self.likelihood(self.decoder(z, y) if self.decoder_sees_y else self.decoder(z))

    def posterior_given(self, x: Tensor, y: Tensor) -> dist.TorchDistribution:
        """Returns q(z | x, y), or q(z | x), for y (..., y_dim) as the networks see it."""
        return self.posterior(self.encoder(x, y) if self.encoder_sees_y else self.encoder(x))

    def seen(self, y: Tensor) -> Tensor:
        """What the networks see of y (N,) or (N, *y_shape): (N, y_dim)."""
        if self.y_shape is not None:
            return y.reshape(len(y), math.prod(self.y_shape)).to(self.classes.dtype)
        one_hot = (y[..., None] == self.classes).to(self.classes.dtype)
        if dist.is_validation_enabled() and not one_hot.any(-1).all():
            raise ValueError(
                f"the labels reach from {y.min()} to {y.max()}, but this {type(self).__name__} "
                f"has the classes 0 to {len(self.classes) - 1}; leave data without such a class "
                "out, or give num_classes"
            )
        return one_hot / one_hot.sum(-1, keepdim=True)  # 0 / 0, not 0, where the label is no class

    def _check_prior(self, prior_network: Network | None) -> None:
        """Refuses priors for which this program has no place, and y where nothing sees it."""
        prior, owner = type(self.prior).__name__, type(self).__name__
        if hasattr(self.prior, "attach"):
            raise ValueError(
                f"a {prior} is made of q(z | x), but this {owner} has q(z | x, y); give a prior "
                "such as GaussianMixture"
            )
        if hasattr(self.prior, "param_shape"):
            return
        if prior_network is not None:
            raise ValueError(
                f"the prior {prior} has no param_shape, so it takes no prior_network; give a prior "
                "such as DiagonalNormal, or leave the network out"
            )
        if not self.decoder_sees_y:
            raise ValueError(
                f"with decoder_sees_y=False and the prior {prior}, which has no param_shape, y is "
                f"nowhere in this {owner}; give a prior of y such as DiagonalNormal, or let the "
                "decoder see y"
            )
