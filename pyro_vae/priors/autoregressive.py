"""A prior that draws one latent after the other."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.checks import check_sizes
from pyro_vae.networks import MaskedMLP
from pyro_vae.shapes import LatentDim, input_shapes, latent_shape

__all__ = ["AutoregressivePrior"]


class AutoregressivePrior(nn.Module):
    """p(z) = prod_j p(z_j | z_1, ..., z_{j-1}), each a mixture of Normals from one network.

    Unlike `FlowPrior` with one step, whose conditionals are single Normals, it can have separate
    modes. Its log density takes one pass of the network; a draw takes one for each number of z, and
    carries no gradient.

    Args:
        latent_dim: The size of z, or its shape.
        hidden: Units of each hidden layer of the network.
        components: The Normals of each conditional.

    Reference:
        Uria et al., 2013, https://arxiv.org/abs/1306.0186;
        the network: Germain et al., 2015, https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self, latent_dim: LatentDim = 20, *, hidden: Sequence[int] = (64, 64), components: int = 5
    ) -> None:
        super().__init__()
        check_sizes(components=components)
        self.latent_dim, shape = latent_dim, latent_shape(latent_dim)
        self.network = MaskedMLP(shape, (3, components, *shape), hidden=hidden)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        return _Autoregressive(self.network, next(self.network.parameters()))


class _Autoregressive(dist.TorchDistribution):
    """The distribution whose conditionals are (logits, loc, log_scale) = network(z)."""

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, network: MaskedMLP, like: Tensor) -> None:
        self.network, self._like = network, like
        super().__init__(torch.Size(), torch.Size(input_shapes(network.in_shape)[0]))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, loc, log_scale = self._conditionals(value).unbind(-3)  # (..., components, d)
        z = value.flatten(value.dim() - self.event_dim)
        log_p = dist.Normal(loc, log_scale.exp()).log_prob(z.unsqueeze(-2))
        return (logits.log_softmax(-2) + log_p).logsumexp(-2).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        z = self._like.new_zeros(*sample_shape, *self.event_shape)
        numbers = z.view(*sample_shape, self.event_shape.numel())
        with torch.no_grad():
            for j in range(numbers.shape[-1]):
                conditional = self._conditionals(z)[..., j]
                logits, loc, log_scale = conditional.unbind(-2)  # (..., components)
                k = dist.Categorical(logits=logits).sample().unsqueeze(-1)
                loc, log_scale = loc.gather(-1, k), log_scale.gather(-1, k)
                numbers[..., j] = dist.Normal(loc, log_scale.exp()).sample().squeeze(-1)
        return z

    def _conditionals(self, z: Tensor) -> Tensor:
        """What the network says of z (..., *event_shape): (..., 3, components, d)."""
        h = self.network(z)
        return h.flatten(h.dim() - self.event_dim)
