"""A prior that is a diffusion, learned inside the ELBO."""

import math

from torch import nn

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import (
    DenoisingChain,
    DiffusionDistribution,
    Noise,
    cosine_noise,
    noise_levels,
)
from pyro_vae.estimating import averaged_data
from pyro_vae.networks import TimeMLP, UNet
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts

__all__ = ["DiffusionPrior"]

# Steps drawn in all where the mean over data is of interest. They leave it an error of 0.12 nats on
# MNIST, with 40 latents.
_IN_ALL = 10_000


class DiffusionPrior(nn.Module):
    """p(z) as the end of T denoising steps from N(0, I), for any program.

        z_T ~ N(0, I);  z_t-1 ~ N(mean(z_t, network(z_t, t)), sigma_t^2 I);  z = z_0

    It starts as N(0, I) exactly, whatever the number of steps, since the network starts as 0; then
    it learns the network and the variances sigma_t^2. Its `log_prob` is an unbiased estimate of a
    lower bound on log p(z), with the gradient in z: of one step for each z in training, of some
    where `fit` validates, and of all in evaluation. So the ELBO of the program stays a bound on
    log p(x). What is not linear in log p(z), such as `IWAE` and `log_likelihood`, refuses it;
    `LatentDiffusion` is the same model with all steps as sites, of which these are right.

    A draw takes all steps, or fewer by `sample(..., ddim_steps=20)`.

    Args:
        latent_dim: The size of z, or its shape.
        steps: T; by default 100, or as many as `noise` has numbers.
        network: From z_t and log signal_t / noise_t, of the shapes (shape, (1,)), to shape; or
            what builds it from these shapes, such as `partial(TimeMLP, hidden=256)`. By default
            `TimeMLP`, and for maps (C, H, W) `UNet`. One that does not start as 0 makes the prior
            start elsewhere.
        noise: The noise's share of the variance after each step, growing from above 0 to below 1;
            or a function of T, such as `cosine_noise`, `linear_noise` or `log_snr_noise`.
        drawn_steps: How many steps are drawn for each z in training: more make the gradient less
            noisy. Where `fit` validates, as many, or 10,000 in all if the data are fewer.
        evaluation_steps: How many are drawn for each z in evaluation; None sums over all.

    Raises:
        ValueError: If there are no steps, or the noise does not grow; if the network does not fit;
            if more steps are to be drawn than there are.

    Reference:
        Ho et al., 2020, https://arxiv.org/abs/2006.11239; as a prior: Vahdat et al., 2021,
        https://arxiv.org/abs/2106.05931

    Example:
        >>> prior = DiffusionPrior(20, steps=50)
        >>> z = torch.randn(5, 20)
        >>> torch.allclose(prior().log_prob(z), StandardNormal(20)().log_prob(z))
        True
    """

    def __init__(
        self,
        latent_dim: LatentDim = 20,
        *,
        steps: int | None = None,
        network: Network | None = None,
        noise: Noise = cosine_noise,
        drawn_steps: int = 1,
        evaluation_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, shape = latent_dim, latent_shape(latent_dim)
        levels, default = noise_levels(noise, steps), UNet if len(shape) == 3 else TimeMLP
        net = Parts(self).network("network", network, default, (shape, (1,)), shape)
        self.chain = DenoisingChain(net, levels, shape)
        self.drawn_steps, self.evaluation_steps = drawn_steps, evaluation_steps
        _check_number("drawn_steps", drawn_steps, len(levels))
        if evaluation_steps is not None:
            _check_number("evaluation_steps", evaluation_steps, len(levels))

    def forward(self) -> DiffusionDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        return DiffusionDistribution(self.chain, drawn_steps=self._drawn_steps())

    def _drawn_steps(self) -> int | None:
        """How many steps are drawn for each z as things stand; None for all."""
        if self.training:
            return self.drawn_steps
        number = averaged_data()
        if number is None:
            return self.evaluation_steps
        wanted = max(self.drawn_steps, math.ceil(_IN_ALL / number))
        return wanted if wanted < len(self.chain) else None


def _check_number(name: str, number: int, most: int) -> None:
    check_sizes(**{name: number})
    if number > most:
        raise ValueError(
            f"{name} is {number}, but the diffusion has {most} steps; give at most as many"
        )
