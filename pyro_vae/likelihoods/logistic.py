"""Grey levels as rounded logistic variables, one for each pixel or several in a mixture.

Locations and scales are in units where black is -1 and white is 1, so that h = 0 is a mid grey
that covers both.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .classes import log_between
from .levels import Levels

__all__ = ["DiscretizedLogistic", "DiscretizedLogisticMixture"]


class DiscretizedLogistic(nn.Module):
    """Grey levels: k/n has the probability that a logistic variable is nearest to it.

        p(x = k/n) = F(y + 1/n) - F(y - 1/n),   y = 2k/n - 1,   F(y) = sigmoid((y - loc) / scale)

    Levels 0 and 1 take the tails. The decoder gives h = (loc, log_scale), each of shape x_shape.

    Args:
        x_shape: The shape of one datum.
        levels: How many grey levels there are, n + 1.

    Reference:
        Kingma et al., 2016, appendix, https://arxiv.org/abs/1606.04934
    """

    def __init__(self, x_shape: Sequence[int], *, levels: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels must be at least 2, but is {levels}")
        self.x_shape = tuple(x_shape)
        self.param_shape = (2, *self.x_shape)
        self.levels = levels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2, *x_shape) to a distribution over x (..., *x_shape)."""
        loc, log_scale = h.unbind(-1 - len(self.x_shape))
        k = RoundedLogistic(loc, log_scale, self.levels - 1)
        return Levels(k, self.levels - 1).to_event(len(self.x_shape))


class DiscretizedLogisticMixture(nn.Module):
    """Images whose pixels are mixtures of discretized logistics: the likelihood of PixelCNN++.

        p(pixel) = sum_m softmax(logits)_m prod_c p(x_c; loc_mc + sum_{b<c} a_mcb y_b, scale_mc)

    The channels of a pixel share the component m. The location of a channel depends linearly on the
    channels before it, y_b in [-1, 1], with coefficients a = tanh(.) in (-1, 1). The decoder gives
    each pixel M logits, then for each of the M components locations, logarithms of scales and
    coefficients: 3 M numbers for a grey image, 10 M for a colour one.

    `mean` is exact for the first channel. For the others it is an approximation, which takes the
    means of the channels before for their values.

    Args:
        x_shape: (channels, height, width).
        components: How many components there are.
        levels: How many grey levels there are.

    Reference:
        Salimans et al., 2017, https://arxiv.org/abs/1701.05517
    """

    def __init__(self, x_shape: Sequence[int], *, components: int = 10, levels: int = 256) -> None:
        super().__init__()
        if len(x_shape) != 3 or min(x_shape) < 1:
            raise ValueError(
                f"x_shape is {tuple(x_shape)}, but a DiscretizedLogisticMixture is over images "
                "(channels, height, width)"
            )
        if components < 1:
            raise ValueError(f"components must be at least 1, but is {components}")
        if levels < 2:
            raise ValueError(f"levels must be at least 2, but is {levels}")
        channels, *pixels = self.x_shape = tuple(x_shape)
        per_component = 1 + 2 * channels + channels * (channels - 1) // 2
        self.param_shape = (components * per_component, *pixels)
        self.components, self.levels = components, levels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over x (..., *x_shape)."""
        channels = self.x_shape[0]
        logits, h = h.tensor_split([self.components], -3)
        h = h.unflatten(-3, (self.components, -1))
        loc, log_scale, a = h.tensor_split([channels, 2 * channels], -3)
        k = RoundedLogisticMixture(logits, loc, log_scale, a.tanh(), self.levels - 1)
        return Levels(k, self.levels - 1)


class RoundedLogistic(dist.TorchDistribution):
    """The nearest k in 0, ..., n to a logistic variable y, where 2k/n - 1 = y.

    Args:
        loc: The location of y.
        log_scale: The logarithm of its scale.
        top: n.
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}

    def __init__(self, loc: Tensor, log_scale: Tensor, top: int) -> None:
        self.loc, self.top = loc, top
        # A tenth of a level of 256 is e^-7; below it a miss has gradients of 1/scale > 1,000.
        self.log_scale = log_scale.clamp(min=-7.0)
        super().__init__(loc.shape)

    @property
    def mean(self) -> Tensor:
        """The exact E[k] = sum_j P(k >= j), term by term: n times an image is much memory."""
        scale = self.log_scale.exp()
        edges = ((2 * j - 1) / self.top - 1 for j in range(1, self.top + 1))
        above = (((self.loc - edge) / scale).sigmoid() for edge in edges)
        return sum(above, start=torch.zeros_like(self.loc))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "RoundedLogistic":
        shape = torch.Size(batch_shape)
        return RoundedLogistic(self.loc.expand(shape), self.log_scale.expand(shape), self.top)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            u = torch.rand(
                (*sample_shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device
            )
            y = self.loc + self.log_scale.exp() * u.logit()
            return ((y + 1) / 2 * self.top).round().clamp(0, self.top)

    def log_prob(self, k: Tensor) -> Tensor:
        rate = (-self.log_scale).exp()
        y, half = 2 * k / self.top - 1, 1 / self.top
        lower = torch.where(k > 0, (y - half - self.loc) * rate, -math.inf)
        upper = torch.where(k < self.top, (y + half - self.loc) * rate, math.inf)
        is_inside = (k > 0) & (k < self.top)
        return log_between(lower, upper, torch.where(is_inside, 2 * half * rate, math.inf))


class RoundedLogisticMixture(dist.TorchDistribution):
    """Pixels of numbers in 0, ..., n, from a mixture of `RoundedLogistic` over their channels.

    Args:
        logits: Of the components of each pixel, (..., M, H, W).
        loc: Locations (..., M, C, H, W).
        log_scale: Logarithms of scales, likewise.
        a: How locations move with the channels before: row after row of a strictly lower
            triangle, (..., M, C (C - 1) / 2, H, W).
        top: n.
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 3)}

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, a: Tensor, top: int) -> None:
        self.logits, self.loc, self.log_scale, self.a, self.top = logits, loc, log_scale, a, top
        super().__init__(logits.shape[:-3], loc.shape[-3:])

    @property
    def mean(self) -> Tensor:
        weights = self.logits.softmax(-3)[..., None, :, :]
        return (weights * self._by_channel(lambda k: k.mean)).sum(-4)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "RoundedLogisticMixture":
        logits = self.logits.expand(*batch_shape, *self.logits.shape[-3:])
        parts = (self.loc, self.log_scale, self.a)
        loc, log_scale, a = (t.expand(*batch_shape, *t.shape[-4:]) for t in parts)
        return RoundedLogisticMixture(logits, loc, log_scale, a, self.top)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        wide = self.expand((*sample_shape, *self.batch_shape))
        with torch.no_grad():
            m = dist.Categorical(logits=wide.logits.movedim(-3, -1)).sample()
            m = m[..., None, None, :, :]  # (..., 1, 1, H, W)
            parts = (wide.loc, wide.log_scale, wide.a)
            loc, log_scale, a = (torch.take_along_dim(t, m, -4) for t in parts)
            one = RoundedLogisticMixture(wide.logits[..., :1, :, :], loc, log_scale, a, self.top)
            return one._by_channel(lambda k: k.sample()).squeeze(-4)

    def log_prob(self, value: Tensor) -> Tensor:
        k = value[..., None, :, :, :]  # (..., 1, C, H, W)
        y = 2 * k / self.top - 1
        locs = [self._loc(c, y[..., :c, :, :]) for c in range(self.event_shape[0])]
        log_p = RoundedLogistic(torch.stack(locs, -3), self.log_scale, self.top).log_prob(k)
        return (self.logits.log_softmax(-3) + log_p.sum(-3)).logsumexp(-3).sum((-2, -1))

    def _loc(self, c: int, y: Tensor) -> Tensor:
        """The location of channel c, (..., M, H, W), given those before it, (..., c, H, W)."""
        start = c * (c - 1) // 2
        return self.loc[..., c, :, :] + (self.a[..., start : start + c, :, :] * y).sum(-3)

    def _by_channel(self, choose: Callable[[RoundedLogistic], Tensor]) -> Tensor:
        """A value of each channel given those chosen for the channels before it: as loc."""
        chosen: list[Tensor] = []
        y = self.loc[..., :0, :, :]
        for c in range(self.event_shape[0]):
            log_scale = self.log_scale[..., c, :, :]
            chosen.append(choose(RoundedLogistic(self._loc(c, y), log_scale, self.top)))
            y = torch.cat([y, (2 * chosen[-1] / self.top - 1).unsqueeze(-3)], -3)
        return torch.stack(chosen, -3)
