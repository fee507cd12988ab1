"""The Kullback-Leibler divergence of a guide's site from the model's, where a formula is known."""

from typing import Any

import torch
from pyro.distributions import Delta, Independent, MaskedDistribution
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vae.distributions import is_estimated

__all__ = ["closed_kl", "kl_of_numbers", "log_density_of_point"]


def closed_kl(q: Any, p: Any) -> Tensor | float | None:
    """KL(q || p) of each element of the batch; None where no formula is known.

    It is the number 0 where all is masked. Of a density that is an estimate none is known.

    For a point it is its own density less that of p, log q(z) - log p(z). Pyro's formula leaves
    log q(z) out, which for the autoguides holds the Jacobian of a constrained latent.
    """
    if is_estimated(q) or is_estimated(p):
        return None
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError:
        return None
    return kl + log_density_of_point(q)


def log_density_of_point(q: Any) -> Tensor | float:
    """The log density that a point, or independent points, is said to have at itself; else 0."""
    if isinstance(q, Independent):
        inner = log_density_of_point(q.base_dist)
        return sum_rightmost(inner, q.reinterpreted_batch_ndims) if isinstance(inner, Tensor) else 0
    return q.log_density if isinstance(q, Delta) else 0.0


def kl_of_numbers(
    q: Any, p: Any, z: Tensor, *, averaged: bool, detached_q: Any = None
) -> Tensor | None:
    """The KL of each number of a draw, in its shape; None unless the numbers are independent.

    Args:
        q: The guide's distribution.
        p: The model's; None for a site that the guide alone samples.
        z: The draw.
        averaged: Whether to average over draws where a formula is known.
        detached_q: The guide's distribution on draws without gradient, to take out the score of.
    """
    single_q, single_p = _of_numbers(q), _of_numbers(p)
    if single_q is None or single_p is None:
        return None
    kl = closed_kl(single_q, single_p) if averaged else None
    if kl is None:
        kl = single_q.log_prob(z) - single_p.log_prob(z)
        if detached_q is not None:
            score = _of_numbers(detached_q).log_prob(z.detach())
            kl = kl - (score - score.detach())
    return torch.as_tensor(kl).expand(z.shape)


def _of_numbers(fn: Any) -> Any:
    """The distribution of each number by itself, without masks; None if there is no such one."""
    while isinstance(fn, Independent | MaskedDistribution):
        fn = fn.base_dist
    return None if fn is None or fn.event_dim else fn
