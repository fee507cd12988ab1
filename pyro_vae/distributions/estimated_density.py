"""Densities that are known only by an unbiased estimate of a lower bound, such as a diffusion's."""

from typing import Any, ClassVar

import pyro.distributions as dist

__all__ = ["EstimatedDensity", "is_estimated"]

# Where wrappers, transformed distributions and mixtures keep what they are made of.
_PARTS = ("base_dist", "component_distribution", "component0", "component1")


class EstimatedDensity(dist.TorchDistribution):
    """A distribution whose `log_prob` is an unbiased estimate of a lower bound on its log density.

        E[log_prob(z)] <= log p(z),    with fresh noise at each call

    A diffusion, or any prior that is a hierarchy with latents of its own, has no better. In place
    of log p(z) such an estimate keeps the ELBO a bound, since the ELBO is linear in log p(z). In a
    log-sum-exp it does not: log E[exp(estimate)] may lie above log p(z). So a prior or a likelihood
    that derives from this class is taken by `Trace_ELBO`, `TraceMeanField_ELBO` and others that
    are linear in log p, with drawn KLs, and by `evaluate`; `IWAE` and its kind, `log_likelihood`,
    and a KL in closed form refuse it or leave it alone.

    A subclass writes `log_prob` and `sample`, as for any distribution, and passes its batch shape
    and event shape to `super().__init__`. A guide's log q is taken off, so a lower bound on it
    would not do: a posterior may derive from this class where the estimate is exact on average,
    and says so by `is_exact_on_average = True`.

    Example:
        >>> import pyro.distributions as dist
        >>> class Chain(EstimatedDensity):
        ...     '''u ~ N(0, 1), z ~ N(u, 1), by the ELBO of one draw of u ~ N(z / 3, 1 / 2).'''
        ...     support = dist.constraints.real
        ...     def sample(self, sample_shape=torch.Size()):
        ...         u = torch.randn(sample_shape)
        ...         return u + torch.randn(sample_shape)
        ...     def log_prob(self, z):
        ...         p, q = dist.Normal(torch.zeros_like(z), 1.0), dist.Normal(z / 3, 0.5**0.5)
        ...         u = q.rsample()
        ...         return p.log_prob(u) + dist.Normal(u, 1.0).log_prob(z) - q.log_prob(u)
        >>> z = torch.tensor([0.5])
        >>> bool(Chain().log_prob(z.expand(1000)).mean() < dist.Normal(0.0, 2**0.5).log_prob(z))
        True
    """

    is_exact_on_average: ClassVar[bool] = False


def is_estimated(fn: Any) -> bool:
    """Whether a distribution, or one that it is made of, is an `EstimatedDensity`."""
    if isinstance(fn, EstimatedDensity):
        return True
    return any(is_estimated(getattr(fn, part)) for part in _PARTS if hasattr(fn, part))
