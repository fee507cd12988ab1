"""The score-function gradient, REINFORCE (Williams, 1992, https://doi.org/10.1007/BF00992696)."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_vae.inference.terms import Terms, mean_of_others

from .elbo import Trace_ELBO
from .estimator import Estimator, with_gradient
from .formula import Formula, elbo
from .notation import Notation

__all__ = ["LeaveOneOut", "MovingAverage", "ScoreFunction"]

Baseline = Callable[[Tensor], Tensor | float]


@dataclass(frozen=True)
class LeaveOneOut:
    """The baseline of a draw is the mean of the datum's other draws: no state, and no tuning.

    Reference:
        Kool et al., 2019, https://openreview.net/forum?id=r1lgTGL5DE
    """

    def __call__(self, log_w: Tensor) -> Tensor:
        """The baselines (K, N) of log weights (K, N)."""
        return mean_of_others(log_w)


class MovingAverage(nn.Module):
    """The baseline is an average over past steps, the same for all data: it works with one draw.

    It holds a state, so each training needs one of its own; `ScoreFunction.state_dict()` saves it.

    Args:
        decay: How much of the average a step keeps.

    Reference:
        Mnih and Gregor, 2014, https://arxiv.org/abs/1402.0030, section 2.3
    """

    value: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay of MovingAverage must be in [0, 1), but is {decay}")
        self.decay = decay
        # In float64, so that a saved average is the same whatever the type of the data.
        self.register_buffer("value", torch.zeros((), dtype=torch.float64))

    def forward(self, log_w: Tensor) -> Tensor:
        """The average of the steps so far; this one enters it afterwards, for the next."""
        if self.value.device != log_w.device:
            self.value = self.value.to(log_w.device)
        value = self.value.to(log_w.dtype, copy=True)
        # In place, so that captured graphs do it.
        mean = log_w.mean().to(self.value)
        self.value.lerp_(torch.where(mean.isfinite(), mean, self.value), 1 - self.decay)
        return value

    def extra_repr(self) -> str:
        """What `repr` shows of it."""
        return str(self.decay)


@dataclass(frozen=True)
class ScoreFunction(Estimator):
    """The ELBO with the gradient that asks nothing of draws: it serves discrete latents.

        theta:  d log p(x, z) / dtheta
        phi:    (log w - baseline) d log q(z | x) / dphi

    Unlike `Trace_ELBO`, which uses reparameterized draws where it can, it holds all draws; unlike
    `VIMCO` its bound is the ELBO.

    Args:
        num_particles: K, the number of draws of the latents for each datum, averaged over.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        baseline: What is subtracted from the log weights (K, N): `LeaveOneOut()`, a
            `MovingAverage`, or None.

    Reference:
        Williams, 1992, https://doi.org/10.1007/BF00992696;
        Ranganath et al., 2014, https://arxiv.org/abs/1401.0118
    """

    num_particles: int = 2
    _: KW_ONLY
    baseline: Baseline | None = LeaveOneOut()

    detaches_draws: ClassVar[bool] = True
    about_gradient = (
        "the value is the ELBO; the guide's gradient asks nothing of draws: "
        r"$(\log w - \mathrm{baseline}) \nabla_{\phi} \log q(z \mid x)$"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.baseline, LeaveOneOut) and self.num_particles < 2:
            raise ValueError(
                "ScoreFunction with LeaveOneOut needs at least two particles, but num_particles "
                "is 1; with one particle use baseline=MovingAverage()"
            )

    @property
    def is_linear(self) -> bool:
        """Always."""
        return True

    @property
    def is_bound(self) -> bool:
        """Always."""
        return True

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """`Trace_ELBO`."""
        return Trace_ELBO()

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The ELBO."""
        return elbo(t, of, gradient=self.about_gradient)

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        log_w = t.log_w.detach()
        if not torch.is_grad_enabled():
            return log_w.mean(0)
        baseline = self.baseline(log_w) if self.baseline else 0.0
        advantage = log_w - baseline
        # Where a weight is zero the bound is -inf, and no gradient can mend it.
        advantage = torch.where(advantage.isfinite(), advantage, 0.0)
        return with_gradient(log_w.mean(0), (t.log_p + advantage * t.log_q).mean(0))
