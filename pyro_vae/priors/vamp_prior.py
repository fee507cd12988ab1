"""The VampPrior (Tomczak and Welling, 2018, https://arxiv.org/abs/1705.07120)."""

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import NormalMixture
from pyro_vae.frozen import is_frozen
from pyro_vae.shapes import LatentDim, check_part, latent_shape
from pyro_vae.wiring import check_network

__all__ = ["VampPrior"]


class VampPrior(nn.Module):
    """p(z) = 1/K sum_k q(z | u_k), the program's own posterior averaged over K pseudo-inputs.

    The pseudo-inputs u are learned, and kept in [0, 1] as images are. The program that owns the
    prior attaches its encoder and posterior; their weights stay the program's. The encoder runs
    on all K at every call, which for K above the batch size is most of the cost of a step.

    Args:
        latent_dim: The size of z, or its shape.
        x_shape: The shape of one datum.
        components: K, if no pseudo-inputs are given.
        pseudo_inputs: Their initial values, (K, *x_shape), such as random data; by default draws
            from N(0.05, 0.01^2), which are nearly black images.
        learn: False keeps the given pseudo-inputs as they are; these may lie outside of [0, 1].

    Raises:
        RuntimeError: When called before `attach`.

    Reference:
        Tomczak and Welling, 2018, https://arxiv.org/abs/1705.07120, equation 9
    """

    pseudo_inputs: Tensor

    def __init__(
        self,
        latent_dim: LatentDim = 20,
        *,
        x_shape: Sequence[int],
        components: int = 500,
        pseudo_inputs: Tensor | None = None,
        learn: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(components=components)
        latent_shape(latent_dim)
        self.latent_dim, self.x_shape, self.learn = latent_dim, tuple(x_shape), learn
        if pseudo_inputs is None:
            if not learn:
                raise ValueError("a VampPrior that does not learn its pseudo-inputs needs them")
            pseudo_inputs = 0.05 + 0.01 * torch.randn(components, *self.x_shape)
        else:
            self._check(pseudo_inputs)
        pseudo_inputs = pseudo_inputs.detach().clone()
        if learn:
            self.pseudo_inputs = nn.Parameter(pseudo_inputs)
        else:
            self.register_buffer("pseudo_inputs", pseudo_inputs)
        self._attached: tuple[Any, Any] | None = None

    @property
    def attached(self) -> tuple[Any, Any] | None:
        """The encoder and the posterior that q(z | u) is made of; None before `attach`."""
        return self._attached

    def attach(self, encoder: Any, posterior: Any) -> None:
        """Takes the two from which q(z | u) is made, without making them parts of its own.

        A frozen prior is a trained program's, and stays the average of that one's posterior. Then
        the two are parts of its own, so that they go with it to a device.
        """
        if is_frozen(self) and self._attached is not None:
            self.encoder, self.posterior = self._attached
            return
        found, needed = latent_shape(posterior.latent_dim), latent_shape(self.latent_dim)
        check_part("VampPrior", "posterior's latent_dim", found, needed)
        check_network("VampPrior", "encoder", encoder, self.x_shape, posterior.param_shape)
        # In a tuple, which a module does not look into: no weight is saved twice, and a deep copy
        # of the program leads to the copies.
        self._attached = (encoder, posterior)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        if self._attached is None:
            raise RuntimeError(
                "this VampPrior has no encoder yet; give it to a program such as VAE, or call "
                "attach(encoder, posterior)"
            )
        encoder, posterior = self._attached
        u = self.pseudo_inputs
        # clamp, unlike Hardtanh, lets the gradient through at 0 and 1, where binary data start.
        q = posterior(encoder(u.clamp(0, 1) if self.learn else u))
        if isinstance(q, dist.Independent) and isinstance(q.base_dist, dist.Normal):
            loc, log_scale = q.base_dist.loc, q.base_dist.scale.log()
            return NormalMixture(loc.new_zeros(len(loc)), loc, log_scale)
        return _EqualMixture(q)

    def _check(self, pseudo_inputs: Tensor) -> None:
        check_part("VampPrior", "pseudo-inputs' x_shape", pseudo_inputs.shape[1:], self.x_shape)
        check_sizes(components=len(pseudo_inputs))
        low, high = pseudo_inputs.min(), pseudo_inputs.max()
        if self.learn and not (low >= 0 and high <= 1):
            raise ValueError(
                f"the pseudo-inputs reach from {low:.3g} to {high:.3g}, but those that are learned "
                "are kept in [0, 1]; scale the data, or give learn=False"
            )


class _EqualMixture(dist.TorchDistribution):
    """The components of a distribution of batch shape (K,), averaged."""

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, components: dist.TorchDistribution) -> None:
        self.components = components
        super().__init__(torch.Size(), components.event_shape)

    @property
    def support(self) -> constraints.Constraint:
        return self.components.support

    def log_prob(self, value: Tensor) -> Tensor:
        (size,), split = self.components.batch_shape, value.dim() - self.event_dim
        # Expanded, as not every distribution broadcasts its values.
        value = value.unsqueeze(split).expand(*value.shape[:split], size, *self.event_shape)
        return self.components.log_prob(value).logsumexp(-1) - math.log(size)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            z = self.components.sample(torch.Size(sample_shape))  # (..., K, *event_shape)
            split = len(sample_shape)
            one = (*sample_shape, 1, *(1 for _ in self.event_shape))
            k = torch.randint(z.shape[split], one, device=z.device)
            return z.take_along_dim(k, split).squeeze(split)
