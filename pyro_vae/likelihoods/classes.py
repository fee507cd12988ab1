"""Likelihoods of classes 0, ..., C - 1, with an order and without."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

__all__ = ["Nominal", "Ordinal"]


class Nominal(nn.Module):
    """Classes without an order, as numbers 0, ..., C - 1: p(x_d = c) = softmax(h_d)_c.

    The mean of such numbers has no meaning, so `mean` is the most probable class.

    Args:
        x_shape: The shape of one datum.
        num_classes: C, the same for every entry.
    """

    def __init__(self, x_shape: Sequence[int], *, num_classes: int = 2) -> None:
        super().__init__()
        _check_classes(num_classes)
        self.x_shape = tuple(x_shape)
        self.param_shape = (num_classes, *self.x_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., num_classes, *x_shape) to a distribution over x (..., *x_shape)."""
        return Named(logits=h.movedim(-1 - len(self.x_shape), -1)).to_event(len(self.x_shape))


class Ordinal(nn.Module):
    """Classes with an order, 0 < ... < C - 1: p(x_d <= c) = sigmoid(threshold_dc - h_d).

    The thresholds rise with c. Each entry learns its own; they start where h = 0 makes all classes
    equally probable.

    Args:
        x_shape: The shape of one datum.
        num_classes: C, the same for every entry.

    Reference:
        McCullagh, 1980, https://doi.org/10.1111/j.2517-6161.1980.tb01109.x
    """

    def __init__(self, x_shape: Sequence[int], *, num_classes: int = 2) -> None:
        super().__init__()
        _check_classes(num_classes)
        self.x_shape = self.param_shape = tuple(x_shape)
        thresholds = torch.arange(1, num_classes).div(num_classes).logit()
        steps = torch.cat([thresholds[:1], thresholds.diff().log()])
        # The first threshold, then the logarithms of the distances from one to the next.
        self.steps = nn.Parameter(steps.expand(*self.x_shape, -1).clone())

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        first, gaps = self.steps[..., :1], self.steps[..., 1:].exp()
        cuts = torch.cat([first, gaps], -1).cumsum(-1) - h[..., None]  # (..., *x_shape, C - 1)
        end, wide = torch.full_like(cuts[..., :1], math.inf), torch.full_like(first, math.inf)
        log_probs = log_between(
            torch.cat([-end, cuts], -1),
            torch.cat([cuts, end], -1),
            torch.cat([wide, gaps, wide], -1),
        )
        return Numbered(logits=log_probs).to_event(len(self.x_shape))


class Numbered(dist.Categorical):
    """Classes as numbers in the dtype of the logits, with the mean of these numbers."""

    @property
    def mean(self) -> Tensor:
        numbers = torch.arange(self.logits.shape[-1]).to(self.logits)
        return (self.probs * numbers).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return super().sample(torch.Size(sample_shape)).to(self.logits.dtype)


class Named(Numbered):
    """Classes whose numbers are but names: the mean is the most probable one."""

    @property
    def mean(self) -> Tensor:
        return self.logits.argmax(-1).to(self.logits.dtype)


def log_between(lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
    """The log probability that a standard logistic variable lies between two numbers.

        log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b))

    No term underflows, so that a gradient remains however far away the interval is.

    Args:
        lower: a, which may be -inf.
        upper: b, which may be inf.
        width: b - a, given since the difference of two large numbers is not exact.
    """
    return logsigmoid(upper) + logsigmoid(-lower) + (-torch.expm1(-width)).log()


def _check_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, but is {num_classes}")
