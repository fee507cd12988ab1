"""NVAE, a deep hierarchy of groups of latents (Vahdat and Kautz, 2020)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.likelihoods import Bernoulli, DiscretizedLogisticMixture
from pyro_vae.networks import (
    BottomUp,
    DecoderCell,
    Network,
    NormalizedConv,
    doubling_cells,
    image_head,
)
from pyro_vae.posteriors import SoftBoundedNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.sharing import once
from pyro_vae.wiring import Parts

__all__ = ["NVAE"]

Shape = tuple[int, int, int]
Cell = Callable[[Shape, Shape], nn.Module]


class NVAE(PyroModule):
    """z_L ~ p(z_L);  z_l ~ p(z_l | z_L, ..., z_l+1);  x ~ p(x | z_L, ..., z_1);  guide: top-down.

    z_1 is next to the data, z_L the top. Each z_l is a group of maps of latents, and the groups lie
    on scales: those of a scale are twice as high and wide as those of the scale above. A path of
    residual cells leads from a learned constant h_0 down to x, and takes up each group as it is
    drawn:

        p(z_l | z_>l) = N(loc_p(h), scale_p(h)^2),    with N(0, I) for z_L,
        q(z_l | z_>l, x) = N(loc_p + loc_q(h, s_l), (scale_p scale_q(h, s_l))^2),

    where s_l is what a deterministic pass makes of x, from the data up. Model and guide go down the
    same path, and the decoder sees no x but in the latents. The loc and the log scale are softly
    bounded (`SoftBoundedNormal`).

    The objective and the rules of the training are not the program's:
    `Trace_ELBO(beta=linear(1e-4, 1, steps=...))`, `--optim "Adamax({'lr': 1e-3})"`. The flows that
    the paper puts into the posterior on natural images, for 0.02 bits per dimension on CIFAR-10,
    are left out.

    Args:
        x_shape: The shape of one image (..., H, W), with values from 0 to 1.
        channels: Those of the cells at the size of the image; each halving doubles them.
        groups: How many groups of latents each scale has, from the top to the data, such as (2, 3):
            z_5 and z_4 on the coarser scale, z_3 to z_1 on the finer.
        latent_channels: The maps of each group.
        cells: The residual cells before each group, on the way up and on the way down.
        blocks: How often the image is halved before the finest scale, and doubled after it.
        block_cells: The residual cells at each of these sizes.
        expansion: How many times as many channels the depthwise convolutions of the path have; in
            the blocks half as many times.
        kernel_size: The height and width of the depthwise convolutions.
        padding: Zeros around the image, on all four sides, that make it divisible; what the decoder
            makes of them is cut off.
        prior: p(z_L), by default N(0, I).
        likelihood: p(x | h), by default Bernoulli.

    Raises:
        ValueError: If the scales do not divide the image, or the parts do not fit each other; the
            sentence says what would.

    Reference:
        Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898

    Example:
        >>> vae = NVAE((1, 28, 28), channels=4, groups=(1, 2))
        >>> vae.model(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    prior: Any
    likelihood: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        channels: int = 16,
        groups: Sequence[int] = (2, 3),
        latent_channels: int = 8,
        cells: int = 1,
        blocks: int = 1,
        block_cells: int = 1,
        expansion: int = 6,
        kernel_size: int = 5,
        padding: int = 0,
        prior: nn.Module | None = None,
        likelihood: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, latent_channels=latent_channels)
        check_sizes(cells=cells, block_cells=block_cells)
        x_shape, groups = tuple(x_shape), _checked(groups)
        shapes = _shapes(x_shape, channels, padding, blocks, len(groups))
        scales = [shape for shape, n in zip(shapes[::-1], groups, strict=False) for _ in range(n)]

        parts, (_, *size) = Parts(self), scales[0]
        self.prior = parts.prior(prior, StandardNormal, (latent_channels, *size))
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.h_0 = nn.Parameter(torch.randn(scales[0]))
        self.encoder = BottomUp(x_shape, padding, shapes[: blocks + 1], block_cells, scales, cells)
        wide = partial(DecoderCell, expansion=expansion, kernel_size=kernel_size)
        self.groups = nn.ModuleList(
            _Group(above, shape, latent_channels, cells, wide)
            for above, shape in zip([None, *scales[:-1]], scales, strict=True)
        )
        h_x = _checked_params(self.likelihood.param_shape, x_shape)
        half = partial(wide, expansion=max(expansion // 2, 1))
        after = doubling_cells(shapes[: blocks + 1], block_cells, half)
        self.decoder = nn.Sequential(*after, image_head(shapes[0], h_x, padding))

    @classmethod
    def mnist(cls, x_shape: Sequence[int] = (1, 28, 28), **parts: Any) -> "NVAE":
        """With the paper's sizes for MNIST: 15 groups on 4x4 and 8x8, of images padded to 32x32."""
        sizes: dict[str, Any] = {"channels": 32, "groups": (5, 10), "latent_channels": 20}
        sizes["cells"] = 2
        return cls(x_shape, **sizes, blocks=2, block_cells=3, padding=2, **parts)

    @classmethod
    def cifar10(cls, x_shape: Sequence[int] = (3, 32, 32), **parts: Any) -> "NVAE":
        """With the paper's sizes for CIFAR-10: 30 groups on 16x16; but without flows."""
        sizes: dict[str, Any] = {"channels": 128, "groups": (30,), "latent_channels": 20}
        sizes["cells"] = 2
        parts = {"likelihood": DiscretizedLogisticMixture(x_shape)} | parts
        return cls(x_shape, **sizes, blocks=1, block_cells=2, **parts)

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z_L, ..., z_1) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            h = self._descend()
            return pyro.sample("x", self.likelihood(self.decoder(h)), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z_L | x) ... q(z_1 | x, z_L, ..., z_2) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            self._descend(self.encoder(x))

    def _descend(self, evidence: Sequence[Tensor] | None = None) -> Tensor:
        """Goes down from h_0 to z_1; returns h (..., C, H, W).

        Args:
            evidence: s_L, ..., s_1 of x, for draws from q; without it the draws are from p.
        """
        h: Tensor = self.h_0
        group: Any
        depth = len(self.groups)
        for i, group in enumerate(self.groups):
            h = once(group.path, h)
            if evidence is not None:
                fn = group.posterior(h, evidence[i])
            else:
                fn = group.prior(h) if i else self.prior()
            z = pyro.sample(f"z_{depth - i}", fn)
            h = once(group.taken_up, h, z)
        return h


class _Group(nn.Module):
    """One group of latents on the path: z (..., Z, H, W) beside h (..., C, H, W).

    Args:
        above: The shape of h at the group above; None for z_L.
        shape: The shape of h.
        latent_channels: Z.
        cells: The cells on the path from the group above.
        cell: What builds them from two shapes.
    """

    def __init__(
        self, above: Shape | None, shape: Shape, latent_channels: int, cells: int, cell: Cell
    ) -> None:
        super().__init__()
        (channels, *size), z_shape = shape, (latent_channels, *shape[1:])
        self.normal = SoftBoundedNormal(z_shape)
        params, both = self.normal.param_shape, (channels + latent_channels, *size)
        to_params = NormalizedConv(channels, 2 * latent_channels, 3)
        path: list[nn.Module] = []
        if above is None:
            at_top = nn.Sequential(
                nn.ELU(), NormalizedConv(channels, channels, 1), nn.ELU(), to_params
            )
            self.residual = Network(shape, params, at_top)
        else:
            path += [cell(above, shape)] if above != shape else []
            path += [cell(shape, shape) for _ in range(cells)]
            to_prior = nn.Sequential(nn.ELU(), NormalizedConv(channels, 2 * latent_channels, 1))
            self.params = Network(shape, params, to_prior)
            self.seen = Network(shape, shape, NormalizedConv(channels, channels, 1))
            self.residual = Network(shape, params, to_params)
        self.path, self.is_top = nn.Sequential(*path), above is None
        take_up = NormalizedConv(channels + latent_channels, channels, 1)
        self.taken_up = Network((shape, z_shape), shape, take_up, seen_as=both)

    def prior(self, h: Tensor) -> dist.TorchDistribution:
        """p(z | h), but for z_L."""
        return self.normal(once(self.params, h))

    def posterior(self, h: Tensor, s: Tensor) -> dist.TorchDistribution:
        """q(z | h, s): a residual of p(z | h), or of N(0, I) for z_L."""
        if self.is_top:
            return self.normal(self.residual(s))
        return self.normal(once(self.params, h) + self.residual(s + self.seen(h)))


def _checked(groups: Sequence[int]) -> tuple[int, ...]:
    """The numbers of groups, one a scale."""
    if not isinstance(groups, Sequence) or not groups:
        raise ValueError(
            f"groups is {groups!r}, but must tell how many groups of latents each scale has, from "
            "the top to the data, such as (2, 3)"
        )
    for number in groups:
        check_sizes(groups=number)
    return tuple(groups)


def _checked_params(param_shape: tuple[int, ...], x_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the likelihood's parameters, if they are numbers for each pixel."""
    if param_shape[-2:] != x_shape[-2:]:
        raise ValueError(
            f"the likelihood of this NVAE needs {param_shape} of its decoder, which makes numbers "
            f"for each of {x_shape[-2]} x {x_shape[-1]} pixels; give a likelihood of images"
        )
    return param_shape


def _shapes(
    x_shape: tuple[int, ...], channels: int, padding: int, blocks: int, scales: int
) -> list[Shape]:
    """The shapes of h from that of the padded image to that of the coarsest scale."""
    for name, number in {"padding": padding, "blocks": blocks}.items():
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, but is {number!r}")
    if len(x_shape) < 2 or min(x_shape) < 1:
        raise ValueError(f"an NVAE is of images (..., height, width), but x_shape is {x_shape}")
    height, width = (side + 2 * padding for side in x_shape[-2:])
    halvings = blocks + scales - 1
    if height % 2**halvings or width % 2**halvings:
        raise ValueError(_undivided(x_shape, (height, width), halvings, blocks, scales))
    return [(channels * 2**k, height // 2**k, width // 2**k) for k in range(halvings + 1)]


def _undivided(
    x_shape: tuple[int, ...], size: tuple[int, int], halvings: int, blocks: int, scales: int
) -> str:
    """The sentence for images that cannot be halved so often."""
    step, sides = 2**halvings, x_shape[-2:]
    fits = [p for p in range(step) if not any((side + 2 * p) % step for side in sides)]
    ways = f"padding={fits[0]}, " if fits else ""
    return (
        f"an NVAE of {scales} scales after {blocks} blocks halves its images {halvings} times, but "
        f"{step} does not divide {size[0]} x {size[1]}; give {ways}fewer scales or fewer blocks"
    )
