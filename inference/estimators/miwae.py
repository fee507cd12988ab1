"""Bounds between the ELBO and IWAE (Rainforth et al., 2018, https://arxiv.org/abs/1802.04537)."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.inference.terms import Terms, normalized, weighted

from .estimator import with_gradient
from .factor_weights import Weight, number
from .formula import Formula
from .iwae import IWAE, mean_over
from .notation import Notation, decimal

__all__ = ["CIWAE", "MIWAE", "PIWAE"]


@dataclass(frozen=True)
class MIWAE(IWAE):
    """The mean of several importance-weighted bounds (not the MIWAE of missing data).

        (1 / M) sum_m log (1 / K) sum_k w_mk,    M groups of K = num_particles / M draws

    With one group it is `IWAE`, with groups of one draw the ELBO; more groups give the guide's
    gradient back the signal that the looser bound costs.

    Args:
        num_particles: M K, the number of draws of the latents for each datum.
        max_plate_nesting: As in `IWAE`.
        groups: M, which divides the number of draws.
        chunk_size: As in `IWAE`.

    Reference:
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537
    """

    num_particles: int = 16
    _: KW_ONLY
    groups: int = 4

    reference, shares_path, formula = IWAE.reference, IWAE.shares_path, IWAE.formula

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups < 1 or self.num_particles % self.groups:
            raise ValueError(
                f"the groups of {type(self).__name__} must divide its num_particles (M times K), "
                f"but {self.groups} does not divide {self.num_particles}"
            )

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of each datum, (N,), from its log weights (M K, N)."""
        grouped = log_w.unflatten(0, (self.groups, -1)).movedim(1, 0)  # (K, M, N)
        return super().bound(grouped).mean(0)

    def written(self, num_particles: int, weight: str) -> str:
        """The mean of the bounds of the groups in LaTeX."""
        size, weight = num_particles // self.groups, weight.replace("(k)", "(m,k)")
        return rf"{mean_over('m', self.groups)} \log {mean_over('k', size)} {weight}"


@dataclass(frozen=True)
class PIWAE(MIWAE):
    """`IWAE` for the model and `MIWAE` for the guide, each with the gradient that suits it.

        theta:  d / dtheta log (1 / MK) sum_mk w_mk
        phi:    d / dphi (1 / M) sum_m log (1 / K) sum_k w_mk

    Its value is the bound of the model, that of `IWAE`. Those who share draws cannot share the way
    back through the model, so the model runs twice where a gradient is taken; its networks must
    be deterministic.

    Reference:
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537
    """

    needs_weights_alone: ClassVar[bool] = False
    about_gradient = (
        "the value is the bound of IWAE, which the model climbs; the guide climbs the mean of the "
        "bounds of groups of draws, as in MIWAE"
    )

    def formula(self, t: Terms, of: Notation) -> Formula:
        """That of `IWAE`."""
        return IWAE(self.num_particles).formula(t, of).noting(self.about_gradient)

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """`IWAE`, whose value it has."""
        return IWAE(self.num_particles).reference(reparameterized=reparameterized)

    def objective(self, t: Terms) -> Tensor:
        """The bound of the model for each datum, (N,)."""
        log_w = t.log_w
        value = IWAE.bound(self, log_w)
        if not log_w.requires_grad:
            return value
        v = normalized(log_w.detach())
        in_groups = log_w.detach().unflatten(0, (self.groups, -1))
        v_guide = normalized(in_groups, dim=1).flatten(0, 1)
        v_guide = v_guide / self.groups
        # At detached draws the model's parameters make up for what the guide's weights gave them.
        log_p = t.log_p_at_detached_draws()
        surrogate = weighted(v_guide, log_w) + weighted(v - v_guide, log_p)
        return with_gradient(value, surrogate.sum(0))


@dataclass(frozen=True)
class CIWAE(IWAE):
    """A mixture of the ELBO and the importance-weighted bound of the same draws.

        beta * (1 / K) sum_k log w_k + (1 - beta) * log (1 / K) sum_k w_k

    At beta = 1 it is the ELBO, at beta = 0 `IWAE`; a little beta keeps the guide's signal.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: As in `IWAE`.
        beta: The ELBO's share, from 0 to 1: a number or a schedule.
        chunk_size: As in `IWAE`.

    Reference:
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537
    """

    _: KW_ONLY
    beta: Weight = 0.5

    reference, shares_path, formula = IWAE.reference, IWAE.shares_path, IWAE.formula

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.beta, int | float) and not 0 <= self.beta <= 1:
            raise ValueError(f"beta of CIWAE must be from 0 to 1, but is {self.beta}")

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of each datum, (N,), from its log weights (K, N)."""
        beta = number(self.beta)
        return weighted(beta, log_w.mean(0)) + weighted(1 - beta, super().bound(log_w))

    def written(self, num_particles: int, weight: str) -> str:
        """The mixture in LaTeX."""
        beta, mean = number(self.beta), mean_over("k", num_particles)
        first = rf"{decimal(beta)} {mean} \log {weight}"
        return rf"{first} + {decimal(1 - beta)} \log {mean} {weight}"
