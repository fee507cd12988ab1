"""The VQ-VAE (van den Oord et al., 2017, https://arxiv.org/abs/1711.00937)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.factors import training_factor
from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import ResidualDecoder, ResidualEncoder
from pyro_vae.posteriors import NearestCode
from pyro_vae.priors import UniformCodes
from pyro_vae.wiring import Network, Parts, attach

__all__ = ["VQVAE"]


class VQVAE(PyroModule):
    """z ~ p(z) over grids of codes;  x ~ p(x | decoder(z));  guide: z = code(encoder(x)).

    The guide puts probability 1 on one grid of a finite set, so log q(z | x) = 0 and

        ELBO(x) = log p(x | z) + log p(z),

    a bound on log p(x) in nats as any other, in which the prior counts: by default the uniform one,
    whose rate is (positions) log K. A second stage learns a better one: `Refit`.

    The penalties that keep encoder and codes together are training factors, which no bound counts
    and the estimator weighs, each with 1 where it does not name it:

        Trace_ELBO(factors={"commitment": 0.25})

    Args:
        x_shape: The shape of one image (..., H, W).
        prior: p(z) over grids of codes, by default `UniformCodes`.
        likelihood: p(x | h), by default Bernoulli.
        posterior: The quantizer, by default `NearestCode` with 512 codes of 64 numbers.
        encoder: A network from x to (param_dim, *grid), or what builds it from the two shapes.
        decoder: A network from (code_dim, *grid) to the likelihood's `param_shape`, likewise.
        grid: Height and width of the grid of codes, by default a quarter of the image's.
        channels: Those of the encoder after each halving, where it is not given; in reverse those
            of the decoder.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.
        TypeError: If the posterior is no quantizer.

    Example:
        >>> vqvae = VQVAE((1, 28, 28), posterior=FSQ((8, 6, 5)))
        >>> vqvae.model(torch.zeros(5, 1, 28, 28)).shape
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
        *,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
        posterior: nn.Module | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        grid: Sequence[int] | None = None,
        channels: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        parts, x_shape = Parts(self), tuple(x_shape)
        grid = _quarter(x_shape) if grid is None else _given(grid)
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.posterior = parts.quantizer(posterior, NearestCode)
        self.prior = UniformCodes() if prior is None else prior
        h_z, z_shape = ((dim, *grid) for dim in (self.posterior.param_dim, self.posterior.code_dim))
        up, down = (partial(net, channels=channels) for net in (ResidualEncoder, ResidualDecoder))
        self.encoder = parts.network("encoder", encoder, up, x_shape, h_z)
        self.decoder = parts.network("decoder", decoder, down, z_shape, self.likelihood.param_shape)
        attach(self.prior, self.encoder, self.posterior)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z | x) for x (N, *x_shape), and states its penalties."""
        with pyro.plate("data", len(x)):
            q = self.posterior(self.encoder(x))
            pyro.sample("z", q)
            for name, penalty in getattr(q, "penalties", {}).items():
                training_factor(name, -penalty, guide=True)


def _given(grid: Any) -> tuple[int, int]:
    if not isinstance(grid, Sequence) or len(grid) != 2:
        raise ValueError(f"grid is {grid!r}, but must be a height and a width, such as (7, 7)")
    return grid[0], grid[1]


def _quarter(x_shape: tuple[int, ...]) -> tuple[int, int]:
    """The grid by default, a quarter of the image's height and width."""
    if len(x_shape) < 2 or x_shape[-2] % 4 or x_shape[-1] % 4:
        raise ValueError(
            f"a VQVAE codes images whose height and width 4 divides, but x_shape is {x_shape}; "
            "give the grid of codes, such as grid=(7, 7), and networks that lead to it"
        )
    return x_shape[-2] // 4, x_shape[-1] // 4
