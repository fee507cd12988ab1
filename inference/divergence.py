"""The Kullback-Leibler divergence of a guide's site from the model's, where a formula is known."""

from typing import Any

from pyro.distributions import Delta, Independent
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import kl_divergence

__all__ = ["closed_kl"]


def closed_kl(q: Any, p: Any) -> Tensor | float | None:
    """KL(q || p) of each element of the batch; None where no formula is known.

    It is the number 0 where all is masked.

    For a point it is its own density less that of p, log q(z) - log p(z). Pyro's formula leaves
    log q(z) out, which for the autoguides holds the Jacobian of a constrained latent.
    """
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError:
        return None
    return kl + _log_density_of_point(q)


def _log_density_of_point(q: Any) -> Tensor | float:
    if isinstance(q, Independent):
        inner = _log_density_of_point(q.base_dist)
        return sum_rightmost(inner, q.reinterpreted_batch_ndims) if isinstance(inner, Tensor) else 0
    return q.log_density if isinstance(q, Delta) else 0.0
