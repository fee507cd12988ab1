"""The doubly reparameterized gradient (Tucker et al., 2019, https://arxiv.org/abs/1810.04152)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.inference.terms import Function, Terms, normalized, weighted

from .estimator import with_gradient
from .iwae import IWAE

__all__ = ["DReG"]


@dataclass(frozen=True)
class DReG(IWAE):
    """The bound of `IWAE` with a gradient whose guide part gains from more particles.

        theta:  sum_k v_k d log p(x, z_k) / dtheta,    v_k = w_k / sum_j w_j
        phi:    sum_k v_k^2 d log w_k / dz_k * dz_k / dphi

    It has the same expectation as the gradient of `IWAE` and a signal to noise like sqrt(K), where
    that one's is like 1 / sqrt(K); at K = 1 it is `STL`. Latents that depend on each other are
    weighted once, not once for each step of the way. What is said of guides at `STL` holds here.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: As in `IWAE`.
        chunk_size: As in `IWAE`, but only where no gradient is taken.

    Reference:
        Tucker et al., 2019, https://arxiv.org/abs/1810.04152
    """

    needs_weights_alone: ClassVar[bool] = False
    shares_path: ClassVar[bool] = False
    about_gradient = (
        "the bound is that of IWAE; the gradient is the doubly reparameterized one, "
        r"$\sum_k v_k \nabla_{\theta} \log p(x, z_k)$ for the model and "
        r"$\sum_k v_k^2 \, \partial_{z_k} \log w_k \nabla_{\phi} z_k$ for the guide, "
        r"with $v_k = w_k / \sum_j w_j$"
    )

    formula = IWAE.formula

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """`IWAE`."""
        return IWAE(self.num_particles).reference(reparameterized=reparameterized)

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        log_w = t.log_w.detach()
        v = normalized(log_w)
        # The model's gradient is weighted by v here, and its part in z by v once more on the way.
        t.gate(v)
        return with_gradient(self.bound(log_w), (weighted(v, t.log_p) - v**2 * t.log_q).sum(0))

    def weighed_factors(self, t: Terms) -> Tensor | float:
        """What the training factors add, with their plain gradient, which is not gated."""
        total = super().weighed_factors(t)
        if not isinstance(total, Tensor) or not torch.is_grad_enabled():
            return total
        return t.past_gate(total, normalized(t.log_w.detach()))

    def terms(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Terms:
        """The terms of the bound, without the score."""
        return super().terms(model, guide, *args, **kwargs).without_score("DReG")
