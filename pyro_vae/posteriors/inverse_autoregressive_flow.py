"""Inverse autoregressive flow (Kingma et al., 2016, https://arxiv.org/abs/1606.04934)."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import reshaped
from pyro_vae.networks import MaskedMLP
from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["InverseAutoregressiveFlow"]


class InverseAutoregressiveFlow(nn.Module):
    """z_0 ~ N(loc, scale^2);  z_t = g_t * z_{t-1} + (1 - g_t) * m_t, g_t = sigmoid(s_t).

    (m_t, s_t) is a masked network of z_{t-1} and a context; each step reverses the order of the
    latents. The encoder gives h = (loc, log_scale, context).

    A draw and its log density take one pass of each network. The log density of any other value,
    which sticking the landing and the VampPrior ask for, is as exact and takes a pass for each
    number of z: `SplineFlow` is the one to take for these.

    Args:
        latent_dim: The size of z, or its shape.
        flows: The number of steps.
        hidden: Units of each hidden layer of a step's network.
        context: The size of the context.

    Reference:
        Kingma et al., 2016, https://arxiv.org/abs/1606.04934, algorithm 1 and equation 14
    """

    def __init__(
        self,
        latent_dim: LatentDim = 20,
        *,
        flows: int = 2,
        hidden: Sequence[int] = (64, 64),
        context: int = 16,
    ) -> None:
        super().__init__()
        check_sizes(flows=flows, context=context)
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)
        size = math.prod(self.shape)
        self.sizes, self.param_shape = [size, size, context], (2 * size + context,)
        self.networks = nn.ModuleList(
            MaskedMLP(((size,), (context,)), (2, size), hidden=hidden) for _ in range(flows)
        )

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *shape)."""
        loc, log_scale, context = h.split(self.sizes, -1)
        q = dist.Normal(loc, log_scale.exp()).to_event(1)
        steps = [_Step(network, context) for network in self.networks]
        return reshaped(dist.TransformedDistribution(q, steps), self.shape)


class _Step(Transform):
    """z -> g * z + (1 - g) * m in reverse order; remembers its last call."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: nn.Module, context: Tensor) -> None:
        super().__init__(cache_size=1)
        self.network, self.context = network, context
        self._last: tuple[Tensor, Tensor] | None = None

    def _call(self, z: Tensor) -> Tensor:
        m, log_gate = self._parameters(z)
        self._last = z, log_gate.sum(-1)
        return torch.lerp(m, z, log_gate.exp()).flip(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(y.shape[:-1], self.context.shape[:-1])
        y = y.flip(-1).expand(*shape, y.shape[-1])
        z = torch.zeros_like(y)
        for j in range(y.shape[-1]):  # what the network says of z_j depends on those before it
            m, log_gate = (each[..., j] for each in self._parameters(z))
            z_j = m + (y[..., j] - m) * (-log_gate).exp()
            z = torch.cat([z[..., :j], z_j.unsqueeze(-1), z[..., j + 1 :]], -1)
        return z

    def log_abs_det_jacobian(self, z: Tensor, y: Tensor) -> Tensor:
        if self._last is not None and self._last[0] is z:
            return self._last[1]
        return self._parameters(z)[1].sum(-1)

    def _parameters(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The m and log g of a step from z, (..., d) each."""
        m, s = self.network(z, self.context).unbind(-2)
        # From +2 on, as the paper advises in section 4: a step starts near the identity.
        return m, nn.functional.logsigmoid(s + 2)
