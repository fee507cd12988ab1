"""The total-correlation decomposition (Chen et al., 2018, https://arxiv.org/abs/1802.04942)."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from pyro.distributions import Independent
from pyro.infer import ELBO
from torch import Tensor

from .estimator import Estimator, Latent, Terms, Weight, number

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
    def is_bound(self) -> bool:
        """Whether its weights make it the ELBO."""
        return (self.alpha, self.beta, self.gamma) == (1, 1, 1)

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """Itself, whose gradient is the plain one."""
        return self

    def check(self, t: Terms) -> None:
        """Refuses all but one vector of latents with independent dimensions for each datum."""
        super().check(t)
        fits = [
            isinstance(latent.q, Independent)
            and latent.q.event_dim == 1
            and latent.z.shape[:-1] == t.log_px.shape[1:]
            for latent in t.latents.values()
        ]
        if fits != [True]:
            raise ValueError(
                "TotalCorrelation needs a guide of one latent whose dimensions are independent, "
                "such as Normal(loc, scale).to_event(1) in one data plate, but the guide has "
                f"{ {name: latent.q for name, latent in t.latents.items()} }"
            )

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        (latent,) = t.latents.values()
        num_data = self.num_data or round(t.scale * t.log_px.shape[1])
        log_qz, log_qz_marginals = _aggregate(latent, num_data)
        mutual_information = latent.log_q[0] - log_qz
        total_correlation = log_qz - log_qz_marginals
        dimensions = log_qz_marginals - latent.log_p[0]
        return t.log_px[0] - (
            number(self.alpha) * mutual_information
            + number(self.beta) * total_correlation
            + number(self.gamma) * dimensions
        )


def _aggregate(latent: Latent, num_data: int) -> tuple[Any, Any]:
    """The logs of q(z) and of the product of its marginals at each draw, (N,)."""
    pairs = latent.q.base_dist.log_prob(latent.z.unsqueeze(1))  # (N draws, N data, latent_dim)
    log_size = math.log(num_data * pairs.shape[1])
    return (
        pairs.sum(-1).logsumexp(1) - log_size,
        (pairs.logsumexp(1) - log_size).sum(-1),
    )
