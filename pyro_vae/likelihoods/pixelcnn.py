"""Images whose pixels are drawn one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from tqdm.auto import tqdm

from pyro_vae.checks import check_sizes
from pyro_vae.networks import PixelCNN
from pyro_vae.shapes import check_part

from .unit import Bernoulli

__all__ = ["PixelCNNLikelihood"]


class PixelCNNLikelihood(nn.Module):
    """p(x | h) = prod_i p(x_i | x_1, ..., x_{i-1}, h): pixels row by row, by a gated PixelCNN.

    In a `VAE` this is the PixelVAE: what the pixels tell of each other the network knows, and z is
    left with what they do not, or with nothing.

    Args:
        x_shape: The shape of one image, (C, H, W).
        pixel: The likelihood of a pixel given those before it, of this x_shape; or what builds it
            from x_shape. By default Bernoulli.
        features: h has this many maps, (features, H, W).
        channels: Of each stack of the PixelCNN.
        layers: Its gated layers. To see all pixels before it, one needs
            layers * (kernel_size // 2) >= max(H, W) - 1; with fewer, only h tells of those far off.
        kernel_size: Height and width of the kernels, odd.

    Reference:
        Gulrajani et al., 2017, https://arxiv.org/abs/1611.05013; the network: van den Oord et al.,
        2016, https://arxiv.org/abs/1606.05328

    Example:
        >>> p = PixelCNNLikelihood((1, 8, 8), layers=2)(torch.zeros(5, 8, 8, 8))
        >>> p.log_prob(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        pixel: nn.Module | Callable[[Sequence[int]], nn.Module] = Bernoulli,
        features: int = 8,
        channels: int = 32,
        layers: int = 4,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        self.x_shape = tuple(x_shape)
        if len(self.x_shape) != 3:
            raise ValueError(
                f"x_shape is {self.x_shape}, but a PixelCNNLikelihood is of images (C, H, W)"
            )
        check_sizes(features=features)
        likelihood: Any = pixel if isinstance(pixel, nn.Module) else pixel(self.x_shape)
        check_part("PixelCNNLikelihood", "pixel's x_shape", likelihood.x_shape, self.x_shape)
        self.pixel, self.param_shape = likelihood, (features, *self.x_shape[1:])
        sizes = {"channels": channels, "layers": layers, "kernel_size": kernel_size}
        shapes = (self.x_shape, self.param_shape)
        self.network = PixelCNN(shapes, likelihood.param_shape, **sizes)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., features, H, W) to a distribution over x (..., C, H, W)."""
        return PixelByPixel(lambda x, h: self.pixel(self.network(x, h)), h, self.x_shape)


class PixelByPixel(dist.TorchDistribution):
    """Pixels one after the other.

    Args:
        conditional: Maps images (..., C, H, W) and h to the distribution of each pixel given those
            before it, as one of event shape (C, H, W).
        h: What the pixels depend on, (..., F, H, W).
        x_shape: (C, H, W).
    """

    arg_constraints: dict[str, Constraint] = {}
    draws_in_turn = True  # so that its mean takes a pass for each pixel

    def __init__(
        self, conditional: Callable[[Tensor, Tensor], Any], h: Tensor, x_shape: Sequence[int]
    ) -> None:
        self._conditional, self.h = conditional, h
        super().__init__(h.shape[:-3], torch.Size(x_shape), validate_args=False)

    @property
    def support(self) -> Constraint:
        """That of the pixels."""
        zeros = self.h.new_zeros(*self.batch_shape, *self.event_shape)
        return self._conditional(zeros, self.h).support

    @property
    def mean(self) -> Tensor:
        """The mean of each pixel given those before it in an image that is drawn, (..., C, H, W).

        Its average over draws is the mean of p(x | h), for which there is no formula.
        """
        return self._conditional(self.sample(), self.h).mean

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "PixelByPixel":
        """The same distribution for each element of a larger batch."""
        h = self.h.expand(*batch_shape, *self.h.shape[-3:])
        return PixelByPixel(self._conditional, h, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p of images (..., C, H, W), by one pass of the network, (...)."""
        return self._conditional(value, self.h).log_prob(value)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, ..., C, H, W), a pass of the network for each pixel."""
        shape = torch.Size(sample_shape) + self.batch_shape
        x = self.h.new_zeros(*shape, *self.event_shape)
        height, width = self.event_shape[-2:]
        with torch.no_grad():
            for place in tqdm(range(height * width), "pixels", leave=False, delay=2):
                i, j = divmod(place, width)
                drawn = self._conditional(x, self.h).sample()
                x[..., i, j] = drawn[..., i, j]
        return x
