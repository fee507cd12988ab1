"""The product of two Normal densities, which is that of a Normal but for a constant."""

import pyro.distributions as dist

__all__ = ["product_of_normals"]


def product_of_normals(
    p: dist.TorchDistribution, q: dist.TorchDistribution
) -> dist.TorchDistribution:
    """The Normal whose density is proportional to p(z) q(z).

    Its precision is the sum of both, 1 / s^2 = 1 / s_p^2 + 1 / s_q^2, and its mean weighs theirs by
    their shares of it, m = s^2 (m_p / s_p^2 + m_q / s_q^2). It is computed without a division by a
    variance, which may be near 0.

    Args:
        p: A Normal of independent numbers, (*batch_shape, *event_shape), as `DiagonalNormal` gives.
        q: Another of the same event shape.

    Reference:
        Sonderby et al., 2016, https://arxiv.org/abs/1602.02282

    Example:
        >>> p, q = dist.Normal(0.0, 1.0).to_event(0), dist.Normal(2.0, 1.0).to_event(0)
        >>> product_of_normals(p, q).mean
        tensor(1.)
    """
    var_p, var_q = p.variance, q.variance
    total = var_p + var_q
    loc = (var_q / total) * p.mean + (var_p / total) * q.mean
    return dist.Normal(loc, (var_p * var_q / total).sqrt()).to_event(len(p.event_shape))
