"""Reweighted wake-sleep (Bornschein and Bengio, 2015, https://arxiv.org/abs/1406.2751)."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.factors import is_training_factor, with_weights
from pyro_vae.inference.terms import (
    Function,
    Terms,
    is_factor,
    is_point,
    normalized,
    sample_sites,
    weighted,
    which_count,
)

from .estimator import with_gradient
from .iwae import IWAE
from .vimco import VIMCO

__all__ = ["ReweightedWakeSleep"]


@dataclass(frozen=True)
class ReweightedWakeSleep(IWAE):
    """The bound of `IWAE` for the model; the guide learns the posterior by KL(p || q) instead.

        theta:        sum_k v_k d log p(x, z_k) / dtheta,    v_k = w_k / sum_j w_j
        phi, awake:   sum_k v_k d log q(z_k | x) / dphi
        phi, asleep:  d log q(z | x) / dphi  at (x, z) ~ p(x, z)

    The guide covers the posterior rather than seeks a mode of it, draws may be discrete, and more
    particles give a better gradient. Unlike all others here the guide does not climb the bound.
    Awake, its gradient is biased for finite K, in a small discrete program by 53 % of its length at
    K = 2 and 23 % at K = 4; asleep it is exact, but for the model's own data.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: As in `IWAE`.
        insomnia: The share of the wake phase in the guide's gradient, as in Pyro: 1 never sleeps.
        chunk_size: As in `IWAE`.

    Reference:
        Bornschein and Bengio, 2015, https://arxiv.org/abs/1406.2751;
        Le et al., 2019, https://arxiv.org/abs/1805.10469
    """

    _: KW_ONLY
    insomnia: float = 1.0

    detaches_draws: ClassVar[bool] = True
    about_gradient = (
        "the value is the bound of IWAE, which the model climbs; the guide descends "
        r"$\mathrm{KL}(p(z \mid x) \,\|\, q(z \mid x))$ instead"
    )

    formula = IWAE.formula

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.insomnia <= 1:
            raise ValueError(
                f"insomnia of ReweightedWakeSleep must be from 0 to 1, but is {self.insomnia}"
            )

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """`IWAE` where its draws have a gradient, else `VIMCO`."""
        if reparameterized or self.num_particles == 1:
            return IWAE(self.num_particles).reference(reparameterized=reparameterized)
        return VIMCO(self.num_particles)

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        log_w = t.log_w.detach()
        v = normalized(log_w)
        awake = weighted(v, t.log_p + self.insomnia * t.log_q).sum(0)
        return with_gradient(self.bound(log_w), awake)

    def differentiable_loss(
        self, model: Function, guide: Function, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound, summed over the data, as a tensor with its gradient."""
        loss = super().differentiable_loss(model, guide, *args, **kwargs)
        if self.insomnia == 1 or not torch.is_grad_enabled():
            return loss
        asleep = (1 - self.insomnia) * log_q_of_dreams(model, guide, args, kwargs)
        return loss - (asleep - asleep.detach())


def log_q_of_dreams(model: Function, guide: Function, args: Any, kwargs: Any) -> Tensor:
    """Log q(z | x) at a draw (x, z) of the model, summed over the data.

    What is masked in the data, such as missing values, stays as it is.
    """
    with torch.no_grad():
        dream = poutine.trace(poutine.uncondition(model)).get_trace(*args, **kwargs)
    observed = [site for site in sample_sites(dream) if site["infer"].get("was_observed")]
    _refuse_factors(observed)
    # Deterministic sites, and those that a reparametrized model observes, follow from others.
    drawn = [s for s in observed if not (is_point(s["fn"]) or is_training_factor(s))]
    data = [(s["infer"]["obs"], _dreamt(s)) for s in drawn]

    def dreamt(argument: Any) -> Any:
        return next((x for datum, x in data if datum is argument), argument)

    args = [dreamt(argument) for argument in args]
    kwargs = {name: dreamt(argument) for name, argument in kwargs.items()}
    if sum(any(x is a for a in (*args, *kwargs.values())) for _, x in data) < len(data):
        raise ValueError(
            "the sleep phase of ReweightedWakeSleep gives the guide the model's own data, so each "
            "observed value must be an argument of the model as it is; use insomnia=1"
        )
    guide = with_weights(guide, {}, 0.0)  # training factors are no part of log q
    trace = poutine.trace(poutine.replay(guide, trace=dream)).get_trace(*args, **kwargs)
    _refuse_points(sample_sites(trace))
    return trace.log_prob_sum()


def _dreamt(site: Any) -> Any:
    """The model's draw of data, with what is masked as in the data themselves."""
    datum, draw, mask = site["infer"]["obs"], site["value"], which_count(site)
    return draw if not isinstance(datum, Tensor) else torch.where(mask, draw, datum)


def _refuse_factors(observed: Sequence[Any]) -> None:
    factors = [s["name"] for s in observed if is_factor(s) and not is_training_factor(s)]
    if factors:
        raise ValueError(
            f"the model has the factors {factors}, so that it cannot be drawn from, as the sleep "
            "phase of ReweightedWakeSleep does; use insomnia=1"
        )


def _refuse_points(guide: Sequence[Any]) -> None:
    points = [s["name"] for s in guide if is_point(s["fn"]) and not s["is_observed"]]
    if points:
        raise ValueError(
            f"the guide draws the points {points}, which have no density at the model's draws, as "
            "the sleep phase of ReweightedWakeSleep needs; use insomnia=1"
        )
