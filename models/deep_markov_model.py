"""The deep Markov model of sequences (Krishnan et al., 2017, https://arxiv.org/abs/1609.09869)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli, EachStep, Mixed
from pyro_vae.networks import MLP, BackwardGRU, Combiner, GatedTransition
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.sequences import sequence_mask
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Network, Parts

__all__ = ["DeepMarkovModel"]


class DeepMarkovModel(PyroModule):
    """z_1 ~ p(z_1);  z_t ~ p(z_t | z_t-1);  x_t ~ p(x_t | z_t);  guide: z_t from z_t-1, x_t:T.

    x is (N, T, *D). A sequence that is shorter than T has NaN from its end on, and neither latents
    nor data of these steps count. NaN before the end is a missing entry, which p(x | z) leaves out.
    A datum is a whole sequence, so that its bound and likelihood are those of all its steps.

    Args:
        x_shape: The shape of one sequence, (T, *D).
        latent_dim: The size of each z_t, or its shape.
        prior: p(z_1), by default N(0, I).
        transition: A network from z_t-1 to the loc and log_scale of z_t, or a class that builds it
            from the two shapes; by default a `GatedTransition`.
        emission: The likelihood p(x_t | h) of one step, of x_shape D, whose entries are
            independent; by default Bernoulli.
        decoder: A network from z_t to the emission's `param_shape`, likewise; by default an `MLP`.
        posterior: q(z_t | h), by default a Normal with diagonal covariance.
        encoder: A network from x to h_1, ..., h_T, (T, rnn_dim), likewise; by default a
            `BackwardGRU`.
        combiner: A network from z_t-1 and h_t to the posterior's `param_shape`, or a class that
            builds it from the pair of their shapes and that; by default a `Combiner`.
        hidden: Units of each hidden layer of the default transition and decoder.
        rnn_dim: The size of h_t.
        activation: What builds the nonlinearity of the default transition and decoder.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Krishnan et al., 2017, https://arxiv.org/abs/1609.09869; the guide is their DKS

    Example:
        >>> dmm = DeepMarkovModel((8, 3), latent_dim=2)
        >>> dmm.model(torch.zeros(5, 8, 3)).shape
        torch.Size([5, 8, 3])
    """

    prior: Any
    likelihood: Any
    posterior: Any
    encoder: Any
    decoder: Any
    transition: Any
    combiner: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: LatentDim = 20,
        *,
        prior: nn.Module | None = None,
        transition: Network | None = None,
        emission: nn.Module | None = None,
        decoder: Network | None = None,
        posterior: nn.Module | None = None,
        encoder: Network | None = None,
        combiner: Network | None = None,
        hidden: Sequence[int] = (100,),
        rnn_dim: int = 100,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if not x_shape:
            raise ValueError("x_shape is (), but a sequence needs a first dimension, its steps")
        parts, z_shape = Parts(self), latent_shape(latent_dim)
        steps, *step_shape = x_shape = tuple(x_shape)
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        self.conditional = DiagonalNormal(latent_dim)
        step = parts.likelihood(emission, Bernoulli, step_shape, name="emission")
        self.likelihood = Mixed(x_shape, columns=[EachStep(x_shape, step=step)])

        mlp = partial(MLP, hidden=hidden, activation=activation)
        gated = partial(GatedTransition, network=mlp)
        h_z, h_x, p_z = (part.param_shape for part in (self.posterior, step, self.conditional))
        h_t = (rnn_dim,)
        self.transition = parts.network("transition", transition, gated, z_shape, p_z)
        self.decoder = parts.network("decoder", decoder, mlp, z_shape, h_x)
        self.encoder = parts.network("encoder", encoder, BackwardGRU, x_shape, (steps, *h_t))
        self.combiner = parts.network("combiner", combiner, Combiner, (z_shape, h_t), h_z)
        self.z_0 = nn.Parameter(torch.zeros(z_shape))

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z_1, ..., z_T) for x (N, T, *D)."""
        z: list[Tensor] = []
        with pyro.plate("data", len(x)):
            for t, lasts in enumerate(sequence_mask(x).unbind(1), start=1):
                p = self.conditional(self.transition(z[-1])) if z else self.prior()
                with poutine.mask(mask=lasts):
                    z.append(pyro.sample(f"z_{t}", p))
            batch_dims = z[0].dim() - self.z_0.dim()
            h = self.decoder(torch.stack(z, batch_dims))  # (N, T, *param_shape)
            return pyro.sample("x", self.likelihood(h.flatten(batch_dims)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z_1 | x) q(z_2 | z_1, x) ... for x (N, T, *D)."""
        z, steps = self.z_0, zip(self.encoder(x).unbind(1), sequence_mask(x).unbind(1), strict=True)
        with pyro.plate("data", len(x)):
            for t, (h, lasts) in enumerate(steps, start=1):
                with poutine.mask(mask=lasts):
                    z = pyro.sample(f"z_{t}", self.posterior(self.combiner(z, h)))
