"""VIMCO: multi-sample objectives for discrete latents (Mnih and Rezende, 2016)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.inference.terms import Terms, mean_of_others

from .estimator import with_gradient
from .iwae import IWAE

__all__ = ["VIMCO"]


@dataclass(frozen=True)
class VIMCO(IWAE):
    """The bound L of `IWAE` with a gradient that asks nothing of draws: for discrete latents.

        sum_k (L - L_-k) d log q(z_k | x) + sum_k v_k d log w_k,    v_k = w_k / sum_j w_j

    where L_-k is L with log w_k replaced by the mean of the others', a baseline for each draw that
    needs no training. Unbiased; the guide's part loses its signal as K grows, as in `IWAE`.

    Reference:
        Mnih and Rezende, 2016, https://arxiv.org/abs/1602.06725
    """

    detaches_draws: ClassVar[bool] = True
    about_gradient = (
        "the bound is that of IWAE; the gradient asks nothing of draws: "
        r"$\sum_k (\mathcal{L} - \mathcal{L}_{-k}) \nabla \log q(z_k \mid x) + "
        r"\sum_k v_k \nabla \log w_k$, with $v_k = w_k / \sum_j w_j$"
    )

    formula = IWAE.formula

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles < 2:
            raise ValueError(
                "VIMCO needs at least two particles, as each is judged by the others, but "
                "num_particles is 1; with one particle use ScoreFunction(baseline=MovingAverage())"
            )

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """`IWAE` where its draws have a gradient, else itself."""
        return IWAE(self.num_particles) if reparameterized else self

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        log_w = t.log_w
        value = self.bound(log_w)
        # What the others say may be no number; a draw may go without a baseline.
        baseline = _without_each(log_w.detach())
        advantage = value.detach() - torch.where(baseline.isfinite(), baseline, 0.0)
        advantage = torch.where(advantage.isfinite(), advantage, 0.0)
        return with_gradient(value, value + (advantage * t.log_q).sum(0))


def _without_each(log_w: Tensor) -> Tensor:
    """L_-k of each draw, (K, N)."""
    others = mean_of_others(log_w)
    none = torch.full_like(log_w[:1], -math.inf)
    before = torch.cat([none, log_w.logcumsumexp(0)[:-1]])
    after = torch.cat([log_w.flip(0).logcumsumexp(0).flip(0)[1:], none])
    return before.logaddexp(after).logaddexp(others) - math.log(len(log_w))
