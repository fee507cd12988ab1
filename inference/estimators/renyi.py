"""The variational Rényi bound (Li and Turner, 2016, https://arxiv.org/abs/1602.02311)."""

import math
from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from pyro_vae.inference.terms import log_power_mean

from .factor_weights import Weight, number
from .iwae import IWAE, mean_over
from .notation import coefficient, decimal

__all__ = ["Renyi"]


@dataclass(frozen=True)
class Renyi(IWAE):
    """The variational Rényi bound of order alpha, estimated from K draws.

        1 / (1 - alpha) E[log (1 / K) sum_k w_k^(1 - alpha)]

    At alpha = 0 it is `IWAE`, towards alpha = 1 the ELBO, at alpha = -inf the VR-max bound, which
    keeps the largest weight alone. It falls as alpha grows; below alpha = 0 it may exceed log p(x).
    Unlike `pyro.infer.RenyiELBO` it takes the data's scale out before the power.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: As in `IWAE`.
        alpha: The order: any number but 1, infinities included, or a schedule.
        chunk_size: As in `IWAE`.

    Reference:
        Li and Turner, 2016, https://arxiv.org/abs/1602.02311
    """

    _: KW_ONLY
    alpha: Weight = 0.5

    reference, shares_path, formula = IWAE.reference, IWAE.shares_path, IWAE.formula

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.alpha, int | float) and (self.alpha == 1 or math.isnan(self.alpha)):
            raise ValueError(
                f"alpha of Renyi is {self.alpha}, where its formula is not defined; "
                "at alpha = 1 the bound is the ELBO: use Trace_ELBO"
            )

    @property
    def is_bound(self) -> bool:
        """Whether it stays below log p(x), as it does from alpha = 0 on."""
        return not callable(self.alpha) and self.alpha >= 0

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of each datum, (N,), from its log weights (K, N)."""
        alpha = number(self.alpha)
        if isinstance(alpha, int | float) and math.isinf(alpha):
            return log_w.amax(0) if alpha < 0 else log_w.amin(0)
        return log_power_mean(log_w, 1 - alpha)

    def written(self, num_particles: int, weight: str) -> str:
        """The bound in LaTeX."""
        power = 1 - number(self.alpha)
        if math.isinf(power):
            return rf"\{'max' if power > 0 else 'min'}_{{k}} \log {weight}"
        inner = weight if power == 1 else rf"({weight})^{{{decimal(power)}}}"
        return rf"{coefficient(1 / power)}\log {mean_over('k', num_particles)} {inner}"
