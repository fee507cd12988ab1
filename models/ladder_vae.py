"""Ladder VAE: layers inferred from the top, as the model samples them (Sonderby et al., 2016)."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.distributions import product_of_normals
from pyro_vae.likelihoods import Bernoulli
from pyro_vae.networks import MLP
from pyro_vae.posteriors import SoftplusNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.sharing import once
from pyro_vae.wiring import Network, Parts, attach, units_of_each_layer

__all__ = ["LadderVAE"]


class LadderVAE(PyroModule):
    """z_L ~ p(z_L);  z_l ~ p(z_l | z_l+1);  x ~ p(x | z_1);  guide: z_L from x, z_l from both.

    z_1 is next to the data. A deterministic pass from x up gives the evidence of each layer, a
    Normal. Then the guide goes down as the model does, and q(z_l | z_l+1, x) merges the evidence
    with p(z_l | z_l+1): by default their densities are multiplied, so that where x tells nothing of
    z_l, q is p. In `HierarchicalVAE` the guide goes up, and shares nothing with the model.

    The networks give (loc, s) of a `SoftplusNormal`. As in the paper's code, the evidence of a
    layer is computed from the mean of the evidence below, and not from a hidden layer.

    Args:
        x_shape: The shape of one datum.
        latent_dims: The size, or the shape, of each of z_1, ..., z_L.
        prior: p(z_L), by default N(0, I).
        likelihood: p(x | h), by default Bernoulli.
        merge: None for the product of the two densities. A class that builds a network, such as
            `MLP`, or such a network for each of z_1, ..., z_L-1, for a merge that is learned: it
            maps the (loc, s) of the evidence and those of p(z_l | z_l+1) to those of q.
        shared: Whether q is merged with the model's own p(z_l | z_l+1). With False the guide has
            networks of its own from z_l+1 to the Normal that it merges, which start as copies of
            the model's; so the published results were made.
        skips: Whether each decoder but the top one also reads the (loc, s) of its latent in the
            model, so that z_l and x depend on all the latents above, and not on the next alone.
        encoders: Networks from x to the evidence of z_1, from its mean to the evidence of z_2, ...,
            or classes that build them from two shapes; or one class for all.
        decoders: Networks from z_1 to the h of p(x | h), from z_2 to (loc, s) of p(z_1 | z_2), ...,
            likewise.
        hidden: Units of the hidden layers of the default encoder of z_1, of z_2, ..., a tuple each,
            or one tuple for all; the default decoders have them in reverse. By default two layers
            of 512, of 256, and so on, but no fewer than 32.
        batch_norm: Whether the default networks normalize each layer by the statistics of the
            batch, that of (loc, s) too, but not the h of p(x | h).
        activation: What builds the nonlinearity of the default networks.

    Raises:
        ValueError: If the parts do not fit each other; the sentence names both shapes.

    Reference:
        Sonderby et al., 2016, https://arxiv.org/abs/1602.02282

    Example:
        >>> vae = LadderVAE((1, 28, 28), (16, 8, 4), hidden=(32,))
        >>> vae.model(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])

        Of convolutions, with latents that are maps and a vector on top:

        >>> net = partial(GatedResidual, channels=8)
        >>> vae = LadderVAE((3, 32, 32), ((8, 8, 8), 16), encoders=net, decoders=net, skips=True)
        >>> vae.model(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 3, 32, 32])
    """

    prior: Any
    likelihood: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dims: Sequence[LatentDim] = (64, 32, 16, 8, 4),
        *,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
        merge: Network | Sequence[Network] | None = None,
        shared: bool = True,
        skips: bool = False,
        encoders: Network | Sequence[Network] | None = None,
        decoders: Network | Sequence[Network] | None = None,
        hidden: Sequence[int] | Sequence[Sequence[int]] | None = None,
        batch_norm: bool = True,
        activation: Callable[[], nn.Module] = nn.LeakyReLU,
    ) -> None:
        super().__init__()
        if not latent_dims:
            raise ValueError("latent_dims is empty, but a LadderVAE needs at least one layer")
        parts, x_shape, depth = Parts(self), tuple(x_shape), len(latent_dims)
        self.shared, self.skips = shared, skips
        self.prior = parts.prior(prior, StandardNormal, latent_dims[-1])
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        normals = [SoftplusNormal(dim) for dim in latent_dims]
        self.normals = nn.ModuleList(normals)

        if hidden is None:
            hidden = [2 * (max(512 >> i, 32),) for i in range(depth)]
        units = units_of_each_layer(hidden, depth)
        mlp = partial(MLP, activation=activation, batch_norm=batch_norm)
        normal = partial(mlp, batch_norm_output=batch_norm)
        if encoders is None:
            encoders = [partial(normal, hidden=h) for h in units]
        if decoders is None:
            of_x, *above = [h[::-1] for h in units]
            decoders = [partial(mlp, hidden=of_x), *[partial(normal, hidden=h) for h in above]]

        z_shapes, h_shapes = [*map(latent_shape, latent_dims)], [q.param_shape for q in normals]
        pairs = [*zip(z_shapes, h_shapes, strict=True)][:-1]
        down = [*(pairs if skips else z_shapes[:-1]), z_shapes[-1]]
        h_down = [self.likelihood.param_shape, *h_shapes[:-1]]
        up = [x_shape, *z_shapes[:-1]]
        self.encoders = parts.networks("encoder", encoders, MLP, up, h_shapes)
        self.decoders = parts.networks("decoder", decoders, MLP, down, h_down)
        if merge is None:
            self.merges = None
        else:
            both = [(h, h) for h in h_shapes[:-1]]
            self.merges = parts.networks("merge", merge, MLP, both, h_shapes[:-1])
        self.guide_decoders = None if shared else copy.deepcopy(self.decoders[1:])
        attach(self.prior, _Upward(self.encoders, self.normals), self.normals[-1])

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z_1, ..., z_L) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            read = self._descend(self.decoders[1:])
            return pyro.sample("x", self.likelihood(self.decoders[0](*read)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z_L | x) q(z_L-1 | z_L, x) ... for x (N, *x_shape)."""
        decoders = self.decoders[1:] if self.guide_decoders is None else self.guide_decoders
        with pyro.plate("data", len(x)):
            self._descend(decoders, _evidence(self.encoders, self.normals, x))

    def _descend(
        self, decoders: Sequence[Any], evidence: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """Samples z_L, ..., z_1 from p; where the evidence of an x is given, from q.

        Args:
            decoders: From z_2 to the (loc, s) of p(z_1 | z_2), from z_3 to those of z_2, ...
            evidence: The (loc, s) of z_1, ..., z_L that x gives.

        Returns:
            What the decoder of x reads.
        """
        depth = len(self.normals)
        top = self.prior() if evidence is None else self.normals[-1](evidence[-1])
        read: tuple[Tensor, ...] = (pyro.sample(f"z_{depth}", top),)
        for i in range(depth - 2, -1, -1):
            h = once(decoders[i], *read)
            fn = self.normals[i](h) if evidence is None else self._merged(i, evidence[i], h)
            z = pyro.sample(f"z_{i + 1}", fn)
            read = (z, h) if self.skips else (z,)
        return read

    def _merged(self, i: int, evidence: Tensor, h: Tensor) -> dist.TorchDistribution:
        """q(z_i+1 | z_i+2, x), from the (loc, s) of the evidence and of p(z_i+1 | z_i+2)."""
        normal = self.normals[i]
        if self.merges is None:
            return product_of_normals(normal(evidence), normal(h))
        return normal(self.merges[i](evidence, h))


def _evidence(encoders: Iterable[Any], normals: Iterable[Any], x: Tensor) -> list[Tensor]:
    """The (loc, s) of each layer that x gives: each encoder reads the mean of the layer below."""
    found, read = [], x
    for encoder, normal in zip(encoders, normals, strict=True):
        found.append(encoder(read))
        read = normal(found[-1]).mean
    return found


class _Upward(nn.Module):
    """The (loc, s) of q(z_L | x), for a prior that is made of such."""

    def __init__(self, encoders: nn.ModuleList, normals: nn.ModuleList) -> None:
        super().__init__()
        self.encoders, self.normals = encoders, normals

    def forward(self, x: Tensor) -> Tensor:
        return _evidence(self.encoders, self.normals, x)[-1]
