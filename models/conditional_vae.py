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

from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import MLP, Added, Joined
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.wiring import Network, built, check_part, check_prior, check_sizes

__all__ = ["ConditionalVAE"]


class ConditionalVAE(PyroModule):
    """z ~ p(z | y);  x ~ p(x | decoder(z, y));  guide: z ~ q(z | encoder(x, y)).

    y has no density: it is a class 0, ..., num_classes - 1, which the networks see one-hot, or, if
    y_shape is given, a condition, which they see flattened. The default MLPs add what their first
    layer makes of y to what it makes of x or z. A network that is given sees the numbers of y as
    that many further channels of x, each constant, and further entries of z. Either may be told to
    do without y: with `decoder_sees_y=False` and a prior p(z | y), all that x owes to y is in z.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z.
        num_classes: The number of classes, where y is one.
        y_shape: The shape of one condition, where y is no class.
        prior: p(z), by default N(0, I); or p(z | h), such as the posterior `DiagonalNormal`, with
            h = prior_network(y).
        prior_network: A network from (y_dim,) to the `param_shape` of such a prior, or what builds
            it, by default an MLP.
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        encoder: A network from (C + y_dim, ...) to the posterior's `param_shape`, for an x_shape of
            (C, ...), or what builds it from the two shapes, such as `ConvEncoder`.
        decoder: A network from (latent_dim + y_dim,) to the likelihood's `param_shape`, likewise.
        encoder_sees_y: Whether the guide is q(z | x, y); if not, it is q(z | x), of an encoder from
            x_shape.
        decoder_sees_y: Whether the likelihood is p(x | z, y); if not, it is p(x | z), of a decoder
            from (latent_dim,), and the prior must be one of y.
        hidden: The hidden units of the encoder, and in reverse of the decoder, where not given.
        activation: Their nonlinearity.

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
        latent_dim: int = 20,
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
        x_shape, z_shape, owner = tuple(x_shape), (latent_dim,), type(self).__name__
        self.y_shape = None if y_shape is None else tuple(y_shape)
        y_dim = num_classes if y_shape is None else math.prod(y_shape)
        self.register_buffer("classes", torch.arange(float(num_classes)), persistent=False)
        self.prior = StandardNormal(latent_dim) if prior is None else prior
        self.likelihood = Bernoulli(x_shape) if likelihood is None else likelihood
        self.posterior = DiagonalNormal(latent_dim) if posterior is None else posterior
        check_prior(owner, self.prior, latent_dim)
        check_part(owner, "posterior's latent_dim", (self.posterior.latent_dim,), z_shape)
        check_part(owner, "likelihood's x_shape", self.likelihood.x_shape, x_shape)
        mlp = partial(MLP, hidden=hidden, activation=activation)
        self.prior_network = _prior_network(owner, self.prior, prior_network or mlp, y_dim)
        if prior_network is not None and self.prior_network is None:
            raise ValueError(
                f"the prior {type(self.prior).__name__} has no param_shape, so it takes no "
                "prior_network; give a prior such as DiagonalNormal, or leave the network out"
            )
        if not decoder_sees_y and self.prior_network is None:
            raise ValueError(
                f"with decoder_sees_y=False and the prior {type(self.prior).__name__}, which has "
                f"no param_shape, y is nowhere in this {owner}; give a prior of y such as "
                "DiagonalNormal, or let the decoder see y"
            )
        h_z, h_x = self.posterior.param_shape, self.likelihood.param_shape
        self.encoder = _network(
            owner, "encoder", encoder, x_shape, y_dim, h_z, encoder_sees_y, hidden, activation
        )
        self.decoder = _network(
            owner, "decoder", decoder, z_shape, y_dim, h_x, decoder_sees_y, hidden[::-1], activation
        )

    @pyro_method
    def model(self, x: Tensor, y: Tensor) -> Tensor:
        """Samples p(x, z | y) for x (N, *x_shape) and y (N,) or (N, *y_shape)."""
        y = self.seen(y)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior_given(y))
            return pyro.sample("x", self.likelihood(self.decoder(z, y)), obs=x)

    @pyro_method
    def guide(self, x: Tensor, y: Tensor) -> None:
        """Samples q(z | x, y) for x (N, *x_shape) and y (N,) or (N, *y_shape)."""
        y = self.seen(y)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(self.encoder(x, y)))

    def prior_given(self, y: Tensor) -> dist.TorchDistribution:
        """Returns p(z | y) for y (..., y_dim) as the networks see it."""
        return self.prior() if self.prior_network is None else self.prior(self.prior_network(y))

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


def _network(
    owner: str,
    name: str,
    given: Network | None,
    x_shape: tuple[int, ...],
    y_dim: int,
    out_shape: Sequence[int],
    sees_y: bool,
    hidden: Sequence[int],
    activation: Callable[[], nn.Module],
) -> nn.Module:
    """The network of x and y, or of x alone, that is given, or else an MLP."""
    if not sees_y:
        mlp = partial(MLP, hidden=hidden, activation=activation)
        return _Alone(built(owner, name, given or mlp, x_shape, out_shape))
    if given is None:
        return Added(x_shape, y_dim, out_shape, hidden, activation)
    return Joined(owner, name, given, x_shape, y_dim, out_shape)


class _Alone(nn.Module):
    """A network of x alone, where others are of x and y."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        del y
        return self.network(x)


def _prior_network(owner: str, prior: Any, network: Network, y_dim: int) -> nn.Module | None:
    """The network from y to the parameters of a prior that takes some."""
    if hasattr(prior, "attach"):
        raise ValueError(
            f"a {type(prior).__name__} is made of q(z | x), but this {owner} has q(z | x, y); give "
            "a prior such as GaussianMixture"
        )
    if not hasattr(prior, "param_shape"):
        return None
    return built(owner, "prior_network", network, (y_dim,), prior.param_shape)
