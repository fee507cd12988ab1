"""The importance-weighted bound (Burda et al., 2016, https://arxiv.org/abs/1509.00519)."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from .estimator import Estimator, Function, Terms
from .terms import collect, joined

__all__ = ["IWAE"]


@dataclass(frozen=True)
class IWAE(Estimator):
    """The importance-weighted bound: tighter than the ELBO, the more so the larger K.

        E[log (1 / K) sum_k w_k],    w_k = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    At K = 1 it is the ELBO. Its gradient is the plain reparameterized one, in which the guide's
    part drowns as K grows (signal to noise like 1 / sqrt(K)); `DReG` has the same expectation
    without that.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        chunk_size: Particles in one run where no gradient is taken, which bounds the memory; a
            gradient needs all of them at once in any case.

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519;
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537
    """

    num_particles: int = 5
    _: KW_ONLY
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(
                f"chunk_size of {type(self).__name__} must be at least 1, but is {self.chunk_size}"
            )

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of each datum, (N,), from its log weights (K, N)."""
        return log_w.logsumexp(0) - math.log(len(log_w))

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        return self.bound(t.log_w)

    def terms(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Terms:
        """The terms of the bound, in chunks of particles where no gradient is taken."""
        if self.chunk_size is None or torch.is_grad_enabled():
            return super().terms(model, guide, *args, **kwargs)
        nesting = self.prepared(model, guide, *args, **kwargs).max_plate_nesting
        sizes = [len(chunk) for chunk in torch.arange(self.num_particles).split(self.chunk_size)]
        parts = [
            collect(model, guide, args, kwargs, num_particles=size, max_plate_nesting=nesting)
            for size in sizes
        ]
        self.check(parts[0])
        return joined(parts)
