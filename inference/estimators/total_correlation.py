"""The total-correlation decomposition (Chen et al., 2018, https://arxiv.org/abs/1802.04942)."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from pyro.distributions import Independent, MaskedDistribution
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.inference.terms import Terms, counted, parameters_move, weighted

from .estimator import Estimator
from .factor_weights import Weight, number
from .formula import Addend, Formula, observed
from .notation import Notation, coefficient, symbol

__all__ = ["TotalCorrelation"]


@dataclass(frozen=True)
class TotalCorrelation(Estimator):
    """The ELBO with its KL split in three, each weighted: beta-TCVAE.

        E_q[log p(x|z)] - alpha I(x; z) - beta KL(q(z) || prod_j q(z_j))
                        - gamma sum_j KL(q(z_j) || p(z_j))

    where q(z) is the guide averaged over the data, estimated by minibatch-weighted sampling: log
    q(z) ~ log (1 / N B) sum_i q(z | x_i) for B of N data. With all weights 1 it is the drawn ELBO,
    exactly. That estimate of log q(z) is low, by up to log N; N shifts the value, not the gradient.
    Unlike a beta on the whole KL it spares the information that z has of x.

    Args:
        num_particles: K, the number of draws of the latents for each datum, averaged over.
        max_plate_nesting: As in `Trace_ELBO`.
        alpha: The weight of the mutual information of datum and latent.
        beta: The weight of the total correlation of the latent's dimensions.
        gamma: The weight of the dimensions' own KL.
        num_data: N; by default the size of the program's data plate, which is right where that
            plate knows of its subsampling or the batch is all the data.

    Reference:
        Chen et al., 2018, https://arxiv.org/abs/1802.04942
    """

    _: KW_ONLY
    alpha: Weight = 1.0
    beta: Weight = 6.0
    gamma: Weight = 1.0
    num_data: int | None = None

    vectorize_particles: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_data is not None and self.num_data < 1:
            raise ValueError(f"num_data must be at least 1, but is {self.num_data}")

    @property
    def is_linear(self) -> bool:
        """Always."""
        return True

    @property
    def is_bound(self) -> bool:
        """Whether its weights make it the ELBO."""
        return (self.alpha, self.beta, self.gamma) == (1, 1, 1)

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """Itself, whose gradient is the plain one."""
        return self

    def check(self, t: Terms) -> None:
        """Refuses all but one latent of independent numbers for each datum."""
        super().check(t)
        if [_independent(latent.q, t.log_px.shape[1]) for latent in t.latents.values()] != [True]:
            raise ValueError(
                "TotalCorrelation needs a guide of one latent whose dimensions are independent, "
                "such as Normal(loc, scale).to_event(1) in one data plate, but the guide has "
                f"{ {name: latent.q for name, latent in t.latents.items()} }"
            )

        (name,) = t.latents
        if torch.is_grad_enabled() and parameters_move(t.latents[name].q):
            raise ValueError(
                f"parameters move the support of {name!r}, where log q(z) jumps, so that draws "
                "tell TotalCorrelation no gradient of it; use a guide such as Normal, or MMD"
            )

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        return t.log_px[0] - torch.stack(self._paid(t)).sum(0)

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The three parts of the KL, each with its weight."""
        z = symbol(next(iter(t.latents)))
        each = rf"{z}_{{j}}" if "_" not in z else rf"({z})_{{j}}"
        written = (
            rf"I(x; {z})",
            rf"\mathrm{{KL}}(q({z}) \,\|\, \prod_{{j}} q({each}))",
            rf"\sum_{{j}} \mathrm{{KL}}(q({each}) \,\|\, p({each}))",
        )
        weights = (number(w) for w in (self.alpha, self.beta, self.gamma))
        parts = [
            Addend(coefficient(weight) + latex, value, -1)
            for weight, latex, value in zip(weights, written, self._paid(t), strict=True)
        ]
        note = (
            f"$q({z})$ is the guide averaged over the data, estimated from the batch, low by up "
            "to the log of their number: what one part gains by that another loses"
        )
        return Formula((*observed(t, of), *parts), notes=(note,))

    def _paid(self, t: Terms) -> list[Tensor]:
        """What each datum pays for information, total correlation and dimensions, (N,) each."""
        ((name, latent),) = t.latents.items()
        counts = counted(t, name)[:, 0]
        num_data = self.num_data or t.scale * counts.sum().clamp(min=1)
        draws = t.layout.rows(t.traces[1].nodes[name])
        log_qz, log_qz_marginals = _aggregate(latent.q, draws, counts > 0, num_data)
        mutual_information = latent.log_q[0] - log_qz
        total_correlation = log_qz - log_qz_marginals
        dimensions = log_qz_marginals - latent.log_p[0]
        return [
            weighted(number(self.alpha), mutual_information),
            weighted(number(self.beta), total_correlation),
            weighted(number(self.gamma), dimensions),
        ]


def _independent(q: Any, num_data: int) -> bool:
    """Whether a draw is independent numbers for each datum, masked as a whole."""
    q = _unmasked(q)
    if not isinstance(q, Independent) or q.batch_shape.numel() != num_data:
        return False
    if q.base_dist.event_dim or not q.event_dim:
        return False
    return not isinstance(q.base_dist, MaskedDistribution)


def _unmasked(q: Any) -> Any:
    while isinstance(q, MaskedDistribution):
        q = q.base_dist
    return q


def _aggregate(
    q: Any, z: Tensor, counts: Tensor, num_data: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The logs of q(z) and of the product of its marginals at each draw, (N,); 0 where masked.

    Args:
        q: The guide's distribution of all data.
        z: The draws, (N, latent_dim).
        counts: Which data are not masked, (N,).
        num_data: N, the number of all data.
    """
    q = _unmasked(q)
    draws = z.reshape(len(z), *(1 for _ in q.batch_shape), *q.event_shape)
    pairs = q.base_dist.log_prob(draws).reshape(len(z), len(z), -1)  # (N draws, N data, D)
    log_size = (num_data * counts.sum().clamp(min=1)).to(pairs).log()
    # A masked datum's own pair stays, so that its row has a gradient, which is not taken.
    others = ~(counts | torch.eye(len(z), dtype=torch.bool, device=z.device))
    joint = pairs.sum(-1).masked_fill(others, -math.inf).logsumexp(1) - log_size
    single = pairs.masked_fill(others.unsqueeze(-1), -math.inf).logsumexp(1) - log_size
    return torch.where(counts, joint, 0.0), torch.where(counts, single.sum(-1), 0.0)
