"""The VAE that clusters, VaDE (Jiang et al., 2017, https://arxiv.org/abs/1611.05148)."""

from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import pyro_method
from torch import Tensor, nn

from pyro_vae.distributions import OneHotDistribution
from pyro_vae.priors import GaussianMixture
from pyro_vae.shapes import LatentDim
from pyro_vae.wiring import Network

from .vae import VAE

__all__ = ["GaussianMixtureVAE"]


class GaussianMixtureVAE(VAE):
    """y ~ softmax(logits);  z ~ N(loc_y, diag(scale_y)^2);  x ~ p(x | decoder(z)).

    The guide is z ~ q(z | encoder(x)), y ~ q(y | z) = p(y | z), by Bayes' rule. That q(y | z) is
    the best there is, and for every y

        log p(y) + log p(z | y) - log p(y | z) = log p(z),

    so any bound has the value that it has for a `VAE` with the prior `GaussianMixture`, whose
    weights fit this program. What it adds is the cluster y as a site of its own: to draw, to
    condition on, to read from `cluster`. Use Pyro's `TraceEnum_ELBO(max_plate_nesting=1)`, which
    sums y out; other estimators draw it, which leaves the value but adds noise to the gradient.

    The clusters start at random. The paper starts them at a mixture fitted to the codes of an
    autoencoder; write it into `prior.loc` and its neighbours for that.

    Args:
        x_shape: The shape of one datum.
        latent_dim: The size of z, or its shape.
        num_components: The number of clusters.
        likelihood: p(x | h), by default Bernoulli.
        posterior: q(z | h), by default a Normal with diagonal covariance.
        encoder: A network from x to the posterior's `param_shape`, as for `VAE`.
        decoder: A network from z to the likelihood's `param_shape`, likewise.
        hidden: Units of each hidden layer of the default encoder; of the default decoder, in
            reverse.
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Jiang et al., 2017, https://arxiv.org/abs/1611.05148;
        see also Dilokthanakul et al., 2016, https://arxiv.org/abs/1611.02648

    Example:
        >>> program = GaussianMixtureVAE((1, 8, 8), latent_dim=2, num_components=3)
        >>> program.cluster(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: LatentDim = 20,
        *,
        num_components: int = 10,
        likelihood: nn.Module | None = None,
        posterior: nn.Module | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__(
            x_shape,
            latent_dim,
            prior=GaussianMixture(latent_dim, components=num_components),
            likelihood=likelihood,
            posterior=posterior,
            encoder=encoder,
            decoder=decoder,
            hidden=hidden,
            activation=activation,
        )

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, y, z) for x (N, *x_shape)."""
        p = self.prior
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", OneHotDistribution(logits=p.logits))
            loc, log_scale = (torch.tensordot(y, each, 1) for each in (p.loc, p.log_scale))
            z = pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(p.loc.dim() - 1))
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(y, z | x) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.posterior(self.encoder(x)))
            pyro.sample("y", self.cluster_given(z), infer={"enumerate": "parallel"})

    def cluster_given(self, z: Tensor) -> dist.TorchDistribution:
        """Returns p(y | z) over one-hot y (..., num_components), for z (..., *z_shape)."""
        p, dims = self.prior, self.prior.loc.dim() - 1
        components = dist.Normal(p.loc, p.log_scale.exp()).to_event(dims)
        log_pz = components.log_prob(z.unsqueeze(-1 - dims))
        return OneHotDistribution(logits=p.logits + log_pz)

    def cluster(self, x: Tensor, num_particles: int = 100) -> Tensor:
        """The probabilities q(y | x) = E_q(z|x)[p(y | z)] of the clusters.

        Args:
            x: Data, (N, *x_shape).
            num_particles: The draws of z, averaged over.

        Returns:
            (N, num_components).
        """
        z = self.posterior(self.encoder(x)).sample((num_particles,))
        return self.cluster_given(z).probs.mean(0)
