"""DIP-VAE I and II (Kumar et al., 2018, https://arxiv.org/abs/1711.00848)."""

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pyro_vae.inference.terms import Terms, counted, inner, weighted

from .elbo import TraceMeanField_ELBO
from .elbo_formula import formula_of_elbo
from .estimator import Estimator
from .factor_weights import Weight, is_zero, number
from .formula import Addend, Formula
from .notation import Notation, coefficient

__all__ = ["DIPVAE_I", "DIPVAE_II"]


@dataclass(frozen=True)
class _DIPVAE(TraceMeanField_ELBO):
    """The ELBO less a penalty on a covariance over the batch; see the two."""

    about_covariance: ClassVar[str]

    _: KW_ONLY
    lambda_od: Weight = 10.0
    lambda_d: Weight = 10.0

    @property
    def is_linear(self) -> bool:
        """Whether the KL is plain: the penalty does not contain log p."""
        return self.has_plain_kl

    @property
    def is_bound(self) -> bool:
        """Whether nothing is penalized, and the rest is the ELBO."""
        return is_zero(self.lambda_od) and is_zero(self.lambda_d) and super().is_bound

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """Itself, whose gradient is the plain one."""
        return self

    def check(self, t: Terms) -> None:
        """Refuses all but one latent for each datum, of known mean, and batches of one datum."""
        Estimator.check(self, t)
        if len(t.latents) != 1:
            raise ValueError(
                f"{type(self).__name__} penalizes the covariance of one latent, but the latents of "
                f"a datum are {t.latent_names}; use MMD, which takes them together"
            )
        super().check(t)
        ((name, latent),) = t.latents.items()
        self.check_moments(name, latent.q)
        if is_validation_enabled() and counted(t, name).amax(-1).sum() < 2 * self.num_particles:
            raise ValueError(
                f"{type(self).__name__} compares the data of a batch, but this batch has one "
                "datum: give it two or more; masked data do not count"
            )

    def check_moments(self, name: str, q: torch.distributions.Distribution) -> None:
        """Refuses a distribution whose mean is not known."""
        try:
            q.mean  # noqa: B018
        except NotImplementedError as error:
            raise ValueError(
                f"{type(self).__name__} needs the mean of q({name} | x), but {type(q).__name__} "
                "has no formula for it; use a posterior such as DiagonalNormal, or MMD"
            ) from error

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, less the penalty of the batch, (N,)."""
        off, diagonal = self._penalties(t)
        return super().objective(t) - off - diagonal

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The ELBO and the two penalties."""
        found, (off, diagonal) = formula_of_elbo(self, t, of), self._penalties(t)
        weights = coefficient(number(self.lambda_od)), coefficient(number(self.lambda_d))
        penalties = (
            Addend(rf"{weights[0]}\sum_{{i \neq j}} C_{{ij}}^{{2}}", off, -1),
            Addend(rf"{weights[1]}\sum_{{i}} (C_{{ii}} - 1)^{{2}}", diagonal, -1),
        )
        notes = (*found.notes, f"$C$ is {self.about_covariance} over the batch")
        return Formula((*found.addends, *penalties), notes=notes)

    def _penalties(self, t: Terms) -> tuple[Tensor, Tensor]:
        """What each datum pays off the diagonal and on it, (N,) each."""
        ((name, _),) = t.latents.items()
        counts = counted(t, name).amax(-1)  # (K N,): 0 where masked
        covariance = self.covariance(t, name, counts / counts.sum().clamp(min=1))
        diagonal = covariance.diagonal()
        off = (covariance - diagonal.diag()).square().sum()
        on = (diagonal - 1).square().sum()
        paying = counts.view_as(t.log_px).amax(0)
        penalties = weighted(number(self.lambda_od), off), weighted(number(self.lambda_d), on)
        return paying * penalties[0], paying * penalties[1]

    @abstractmethod
    def covariance(self, t: Terms, name: str, shares: Tensor) -> Tensor:
        """What is to be the identity, (D, D).

        Args:
            t: The terms.
            name: The latent's.
            shares: The weight of each draw's datum in a mean over the batch, (K N,).
        """


@dataclass(frozen=True)
class DIPVAE_I(_DIPVAE):  # noqa: N801 (the paper's name)
    """The ELBO, and means of the guide that are uncorrelated over the data.

        ELBO - lambda_od sum_(i != j) C_ij^2 - lambda_d sum_i (C_ii - 1)^2,    C = Cov_x(E_q[z | x])

    C is the covariance over the batch, divided by its size. So the penalty of small batches is too
    high on average, by what batches differ from each other. Unlike `TotalCorrelation` it sees the
    moments of q(z) alone, and needs no densities; unlike `DIPVAE_II` it is blind to what the noise
    of q(z | x) adds, so that E_q[z | x] of a number that is not used need not have variance 1.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        lambda_od: The weight off the diagonal: a number or a schedule.
        lambda_d: The weight of the diagonal: ten times the other in the literature.
        beta: The weight of the KL, as in `Trace_ELBO`, as are free_bits, capacity and kl_balance.

    Raises:
        ValueError: If a datum has not one latent alone, or its mean is not known.

    Reference:
        Kumar et al., 2018, https://arxiv.org/abs/1711.00848, eq. 6
    """

    about_covariance = r"the covariance of $\mathbb{E}_{q}[z \mid x]$"

    _: KW_ONLY
    lambda_d: Weight = 100.0

    def covariance(self, t: Terms, name: str, shares: Tensor) -> Tensor:
        """Cov_x(E_q[z | x]) of the batch, (D, D)."""
        return _covariance(_rows(t, name, "mean"), shares)


@dataclass(frozen=True)
class DIPVAE_II(_DIPVAE):  # noqa: N801 (the paper's name)
    """The ELBO, and latents whose covariance over all data is the prior's.

        ELBO - lambda_od sum_(i != j) C_ij^2 - lambda_d sum_i (C_ii - 1)^2
        C = Cov_q(z)[z] = E_x[Cov_q(z | x)] + Cov_x(E_q[z | x])

    where q(z) is the guide averaged over the batch. It is otherwise as `DIPVAE_I`.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        lambda_od: The weight off the diagonal: a number or a schedule.
        lambda_d: The weight of the diagonal, likewise.
        beta: The weight of the KL, as in `Trace_ELBO`, as are free_bits, capacity and kl_balance.

    Raises:
        ValueError: If a datum has not one latent alone, or its numbers depend on each other in
            q(z | x).

    Reference:
        Kumar et al., 2018, https://arxiv.org/abs/1711.00848, eq. 7
    """

    about_covariance = r"the covariance of $z$"

    def check_moments(self, name: str, q: torch.distributions.Distribution) -> None:
        """Refuses numbers that depend on each other given x, too."""
        super().check_moments(name, q)
        if inner(q).event_shape:
            raise ValueError(
                f"{type(self).__name__} needs numbers of {name!r} that are independent given x, as "
                f"of DiagonalNormal, but q({name} | x) is {type(inner(q)).__name__}; use DIPVAE_I"
            )

    def covariance(self, t: Terms, name: str, shares: Tensor) -> Tensor:
        """Cov_q(z)[z] of the batch, (D, D)."""
        within = (shares[:, None] * _rows(t, name, "variance")).sum(0)
        return within.diag() + _covariance(_rows(t, name, "mean"), shares)


def _rows(t: Terms, name: str, moment: str) -> Tensor:
    """A moment of q(z | x) for each draw's datum, (K N, D)."""
    sites = [(part.layout, part.traces[1].nodes[name]) for part in t.parts]
    return torch.cat([at.rows({**s, "value": getattr(s["fn"], moment)}) for at, s in sites])


def _covariance(rows: Tensor, shares: Tensor) -> Tensor:
    """That of rows (R, D) with shares (R,) that sum up to 1: (D, D)."""
    centred = rows - shares @ rows
    return (shares[:, None] * centred).mT @ centred
