"""InfoVAE with the maximum mean discrepancy (Zhao et al., 2019)."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pyro_vae.inference.terms import Terms, counted, weighted

from .estimator import Estimator
from .factor_weights import Weight, number
from .formula import Addend, Formula, drawn, latents, observed, rates
from .notation import Notation, coefficient, symbol

__all__ = ["IMQ", "MMD", "RBF"]

Kernel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class RBF:
    """The Gaussian kernel, exp(-|u - v|^2 / (2 scale^2 D)) for vectors of D dimensions."""

    scale: float = 1.0

    def __call__(self, u: Tensor, v: Tensor) -> Tensor:
        """The kernel of each pair, (A, B), for u (A, D) and v (B, D)."""
        return (-_squared_distance(u, v) / (2 * self.scale**2 * u.shape[-1])).exp()


@dataclass(frozen=True)
class IMQ:
    """The inverse multiquadric, C / (C + |u - v|^2) with C = 2 scale^2 D: heavier tails than `RBF`.

    Reference:
        Tolstikhin et al., 2018, https://arxiv.org/abs/1711.01558, section 4
    """

    scale: float = 1.0

    def __call__(self, u: Tensor, v: Tensor) -> Tensor:
        """The kernel of each pair, (A, B), for u (A, D) and v (B, D)."""
        c = 2 * self.scale**2 * u.shape[-1]
        return c / (c + _squared_distance(u, v))


@dataclass(frozen=True)
class MMD(Estimator):
    """InfoVAE: the ELBO with part of its KL put on the guide averaged over the data, q(z).

        E_q[log p(x|z)] - (1 - alpha) KL(q(z|x) || p(z)) - (alpha + lambda - 1) MMD(q(z), p(z))

    MMD is the squared discrepancy, by its unbiased estimate from all draws of the batch and as many
    of the model's prior; all latents count together. Draws of one datum are alike, and are compared
    with each other only where a batch has no other. At alpha = 0, lambda = 1 this is the ELBO;
    alpha = 1 is the MMD-VAE, which keeps the latents informative of x. Unlike `TotalCorrelation`
    it needs no density of q(z).

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: As in `Trace_ELBO`.
        alpha: What is taken off the KL's weight of 1: a number or a schedule.
        lambda_: The paper's lambda, in units of the KL: a number or a schedule.
        kernel: `RBF()`, `IMQ()`, or a function of u (A, D) and v (B, D) that returns (A, B).

    Reference:
        Zhao et al., 2019, https://arxiv.org/abs/1706.02262;
        Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html
    """

    _: KW_ONLY
    alpha: Weight = 1.0
    lambda_: Weight = 1000.0
    kernel: Kernel = RBF()

    @property
    def is_linear(self) -> bool:
        """Always."""
        return True

    @property
    def is_bound(self) -> bool:
        """Whether its weights make it the ELBO."""
        return (self.alpha, self.lambda_) == (0, 1)

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """Itself, whose gradient is the plain one."""
        return self

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        kls = [latent.log_q - latent.log_p for latent in t.latents.values()]
        rate = weighted(1 - number(self.alpha), torch.stack(kls).sum(0))
        return (t.log_px - rate).mean(0) - self._paid_for_discrepancy(t)

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The two weighted divergences of the guide: of each datum, and of the average."""
        rest, factor = 1 - number(self.alpha), self._weight()
        kls = {n: weighted(rest, latent.log_q - latent.log_p) for n, latent in latents(t)}
        paid = rates(t, of, kls, lambda name: coefficient(rest) + drawn(of, name))
        z = ", ".join(map(symbol, _shared(t)))
        latex = rf"{coefficient(factor)}\mathrm{{MMD}}(q({z}), p({z}))"
        discrepancy = Addend(latex, self._paid_for_discrepancy(t), -1)
        note = f"$q({z})$ is the guide averaged over the batch"
        return Formula((*observed(t, of), *paid, discrepancy), notes=(note,))

    def _weight(self) -> float:
        return number(self.alpha) + number(self.lambda_) - 1

    def _paid_for_discrepancy(self, t: Terms) -> Tensor:
        """The weighted discrepancy, of each datum that counts, (N,)."""
        numbers = torch.cat([counted(t, name) for name in _shared(t)], -1)
        counts = numbers.amax(-1)  # (K N,): 0 for a datum that is masked as a whole
        discrepancy = self._weight() * self._discrepancy(t, numbers, counts)
        return counts.view_as(t.log_px).amax(0) * discrepancy

    def _discrepancy(self, t: Terms, numbers: Tensor, counts: Tensor) -> Tensor:
        pairs = [
            (_rows(part, part.traces[1]), _rows(part, poutine.trace(part.program[0]).get_trace()))
            for part in t.parts  # the second not replayed, so z ~ p(z)
        ]
        u, v = (numbers * torch.cat(draws) for draws in zip(*pairs, strict=True))
        few = is_validation_enabled() and counts.sum() < 2  # graphs cannot look, and get a NaN
        if len(u) < 2 or few:
            raise ValueError(
                "MMD compares draws of a batch, but this batch has one draw: give it two data or "
                "more, or num_particles=2; masked data do not count"
            )
        both = counts.unsqueeze(1) * counts
        different = both - both.diagonal().diag()
        apart = _of_two_data(different, t.log_px.shape[1])
        within = _mean_of_pairs(self.kernel(u, u), apart)
        within = within + _mean_of_pairs(self.kernel(v, v), different)
        return within - 2 * _mean_of_pairs(self.kernel(u, v), both)


def _shared(t: Terms) -> list[str]:
    """The latents that guide and model have in common: the auxiliary ones are the guide's."""
    return [name for name, latent in t.parts[0].latents.items() if latent.p is not None]


def _rows(t: Terms, trace: Any) -> Tensor:
    """The latents in a trace, (K N, D)."""
    return torch.cat([t.layout.rows(trace.nodes[name]) for name in _shared(t)], -1)


def _squared_distance(u: Tensor, v: Tensor) -> Tensor:
    return (u.unsqueeze(1) - v).square().sum(-1)


def _of_two_data(pairs: Tensor, num_data: int) -> Tensor:
    """The pairs (K N, K N) of draws of two data; all of them if no two data count."""
    repeats = len(pairs) // num_data
    same = torch.eye(num_data, dtype=pairs.dtype, device=pairs.device).repeat(repeats, repeats)
    apart = pairs * (1 - same)
    return torch.where(apart.any(), apart, pairs)


def _mean_of_pairs(kernel: Tensor, pairs: Tensor) -> Tensor:
    """The mean over the pairs that count."""
    return (pairs * kernel).sum() / pairs.sum()
