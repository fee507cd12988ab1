"""FactorVAE (Kim and Mnih, 2018, https://arxiv.org/abs/1802.05983)."""

from dataclasses import KW_ONLY, dataclass

import torch
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn

from pyro_vae.inference.terms import Terms, counted, weighted

from .adversary import judged, look, power_iterations_off
from .elbo import TraceMeanField_ELBO
from .elbo_formula import formula_of_elbo
from .estimator import Estimator, with_gradient
from .factor_weights import Weight, check_not_negative, is_zero, number
from .formula import Addend, Formula
from .gan_losses import Minimax
from .notation import Notation, coefficient, symbol

__all__ = ["FactorVAE"]


@dataclass(frozen=True)
class FactorVAE(TraceMeanField_ELBO):
    """The ELBO less the total correlation of the guide's average, as a discriminator sees it.

        E_q[log p(x|z)] - KL - gamma E_q[log D(z) - log(1 - D(z))]

    where D tells draws of q(z) = E_x[q(z | x)] from draws whose numbers are each of another datum,
    which are of prod_j q(z_j). The best D has the logit log q(z) - sum_j log q(z_j), whose mean is
    the total correlation KL(q(z) || prod_j q(z_j)). Encoder and decoder climb the whole, and D
    learns in the same step, from its own cross-entropy, of the same draws and of those with their
    numbers permuted within the batch (the paper permutes those of a second batch):

        -1/2 log D(z) - 1/2 log(1 - D(z_permuted))

    Nothing flows from D's cost into the program, nor from gamma's term into D. The value is the
    whole. It is not compared between epochs, as D learns, and `fit` keeps the last. Unlike
    `TotalCorrelation` it needs no density of q(z | x), and no size of the data, but a D that keeps
    up: an estimate by a poor D is low. Its parameters are called "estimator.discriminator.", by
    which they may have a learning rate of their own.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        discriminator: A module that maps latents (R, D) to a logit each, (R,) or (R, 1), such as
            `MLP((10,), (1,), hidden=(1000,) * 5)`.
        gamma: The weight of the total correlation: a number or a schedule.
        beta: The weight of the KL, as in `Trace_ELBO`, as are free_bits, capacity and kl_balance.

    Raises:
        TypeError: If the discriminator is no module.
        ValueError: If a datum has not one latent alone, or the discriminator cannot take it.

    Example:
        >>> from pyro_vae.networks import MLP
        >>> vae, estimator = VAE((1, 8, 8), 5), FactorVAE(discriminator=MLP((5,), (1,)))
        >>> estimator.loss(vae.model, vae.guide, torch.zeros(3, 1, 8, 8)) > 0
        True

    Reference:
        Kim and Mnih, 2018, https://arxiv.org/abs/1802.05983, algorithm 2
    """

    _: KW_ONLY
    discriminator: nn.Module
    gamma: Weight = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.discriminator, nn.Module):
            raise TypeError(
                f"the discriminator of {type(self).__name__} is {self.discriminator!r:.80}, but "
                "must be a module that maps latents to logits, such as MLP((10,), (1,))"
            )
        check_not_negative(f"gamma of {type(self).__name__}", self.gamma)

    @property
    def is_linear(self) -> bool:
        """Whether the KL is plain: the discriminator does not contain log p."""
        return self.has_plain_kl

    @property
    def is_bound(self) -> bool:
        """Whether gamma is 0 and the rest is the ELBO."""
        return is_zero(self.gamma) and super().is_bound

    @property
    def compares_epochs(self) -> bool:
        """Never: as the discriminator learns, the objective changes, and the last epoch counts."""
        return False

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """None: the gradient is of two players, and of neither alone."""
        return None

    def check(self, t: Terms) -> None:
        """Refuses all but one latent for each datum, and a discriminator that cannot take it."""
        Estimator.check(self, t)
        user = type(self).__name__
        if len(t.latents) != 1:
            raise ValueError(
                f"the discriminator of {user} sees one latent, but those of a datum are "
                f"{t.latent_names}; use MMD, which takes them together"
            )
        super().check(t)
        if not is_validation_enabled():
            return  # graphs cannot look at data
        if not counted(t, next(iter(t.latents))).all():
            raise ValueError(
                f"the discriminator of {user} sees whole latents, but some are masked; use "
                "TotalCorrelation"
            )
        self._check_takes(_draws(t)[:2])

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum less gamma times its share of the correlation, (N,)."""
        value, z = super().objective(t) - self._paid_for_correlation(t), _draws(t)
        if not torch.is_grad_enabled():
            return value
        own, _ = look(self.discriminator, torch.cat([z.detach(), _permuted(z.detach())]))
        real, fake = own.reshape(2, *t.log_px.shape)
        cost = (Minimax().real(real) + Minimax().fake(fake)).mean(0) / 2
        return with_gradient(value, value - cost)

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The ELBO and the total correlation, as the discriminator sees it."""
        found, z = formula_of_elbo(self, t, of), symbol(next(iter(t.latents)))
        seen = of.mean(rf"\log D({z}) - \log(1 - D({z}))")
        latex = coefficient(number(self.gamma)) + seen
        correlation = Addend(latex, self._paid_for_correlation(t), -1)
        note = (
            f"$D$ tells draws of the average $q({z})$ from those of the product of its marginals, "
            "and learns by a cost of its own"
        )
        return Formula((*found.addends, correlation), notes=(*found.notes, note))

    def _paid_for_correlation(self, t: Terms) -> Tensor:
        """Gamma times what the discriminator sees of the total correlation, (N,)."""
        with power_iterations_off(self.discriminator):
            logit, _ = look(self.discriminator, _draws(t), detached=True)
        return weighted(number(self.gamma), logit.reshape(t.log_px.shape).mean(0))

    def _check_takes(self, z: Tensor) -> None:
        user, kind = type(self).__name__, type(self.discriminator).__name__
        try:
            found = judged(self.discriminator, z)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"the discriminator of {user}, a {kind}, cannot take latents of {z.shape[1]} "
                f"numbers: {str(error).strip().splitlines()[0]}; build it of in_shape "
                f"({z.shape[1]},)"
            ) from error
        if found.shape not in ((len(z),), (len(z), 1)):
            raise ValueError(
                f"the discriminator of {user}, a {kind}, makes {tuple(found.shape)} of {len(z)} "
                "latents, but must make one logit of each; build it of out_shape (1,)"
            )


def _draws(t: Terms) -> Tensor:
    """The draws of the guide, (K N, D)."""
    (name,) = t.latents
    return torch.cat([part.layout.rows(part.traces[1].nodes[name]) for part in t.parts])


def _permuted(z: Tensor) -> Tensor:
    """Draws (R, D), each column in an order of its own: of the product of their marginals."""
    return z.gather(0, torch.rand_like(z).argsort(0))
