"""Sums over importance weights of which some are zero: log w = -inf makes no NaN in them."""

import math

import torch
from torch import Tensor

__all__ = ["log_mean_exp", "log_power_mean", "mean_of_others", "normalized", "weighted"]


def normalized(log_w: Tensor, dim: int = 0) -> Tensor:
    """The weights divided by their sum; zeros where all of them are zero."""
    none = (log_w == -math.inf).all(dim, keepdim=True)
    return torch.where(none, 0.0, log_w.softmax(dim))


def weighted(weight: Tensor | float, value: Tensor) -> Tensor:
    """Their product, in which a weight of zero counts nothing of an infinite value."""
    if not isinstance(weight, Tensor) and weight != 0:
        return weight * value
    nothing = value.isinf() if not isinstance(weight, Tensor) else (weight == 0) & value.isinf()
    return torch.where(nothing, 0.0, weight * value)


def log_mean_exp(log_w: Tensor) -> Tensor:
    """The log of the mean weight, (N,), of log weights (K, N)."""
    none = (log_w == -math.inf).all(0)
    # The gradient of logsumexp is NaN where all are -inf.
    some = log_w.masked_fill(none, 0.0).logsumexp(0) - math.log(len(log_w))
    return some.masked_fill(none, -math.inf)


def log_power_mean(log_w: Tensor, power: Tensor | float) -> Tensor:
    """(1 / power) log (1 / K) sum_k w_k^power, (N,), of log weights (K, N).

    Near power = 0, where it is the mean of log w, it loses no digits, which logsumexp does: the
    differences to the largest weight (to the smallest, if power < 0) go through expm1 and log1p.
    """
    power = torch.as_tensor(power).to(log_w)
    extreme = torch.where(power > 0, log_w.amax(0), log_w.amin(0)).detach()
    finite = extreme.isfinite()
    differences = torch.where(finite, log_w - extreme, 0.0)
    some = torch.where(power == 0, 1.0, power)
    change = (some * differences).expm1().mean(0)  # from -1 to 0
    # Far from 0 log1p loses what logsumexp keeps: by 1e-7 K in float32.
    near, far = change.clamp(min=-0.5).log1p(), log_mean_exp(some * differences)
    mean = torch.where(change > -0.5, near, far) / some
    mean = torch.where(power == 0, differences.mean(0), mean)
    return extreme + torch.where(finite, mean, 0.0)


def mean_of_others(log_w: Tensor) -> Tensor:
    """For each draw the mean of the datum's other log weights, (K, N)."""
    zero = log_w == -math.inf
    some = log_w.masked_fill(zero, 0.0)
    others = (some.sum(0) - some) / (len(log_w) - 1)
    return others.masked_fill(zero.sum(0) - zero.long() > 0, -math.inf)
