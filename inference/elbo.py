"""The evidence lower bound, with drawn or analytic KL (Kingma and Welling, 2014, eqs. 2 and 10).

    ELBO = E_q[log p(x | z)] - beta * |sum_j max(KL_j, free_bits) - capacity|

At beta = 1 without free bits and capacity these are Pyro's estimators of the same names: same loss,
same gradient. Other betas give the beta-VAE; as a schedule, KL warm-up.
"""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import pyro
import torch
from pyro.distributions.util import is_identically_zero
from pyro.infer import ELBO
from pyro.infer.util import MultiFrameTensor
from torch import Tensor

from .divergence import closed_kl
from .estimator import Estimator, Latent, Terms, Weight, number, samples
from .support import check_support, is_point

__all__ = ["TraceMeanField_ELBO", "Trace_ELBO"]


@dataclass(frozen=True)
class Trace_ELBO(Estimator, pyro.infer.Trace_ELBO):
    """The ELBO with each latent's KL estimated at the draws: E_q[log q(z | x) - log p(z)].

    Latents without reparameterized draws get Pyro's score-function gradient.

    Args:
        num_particles: Draws of the latents, averaged over.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        vectorize_particles: All draws in one run, in a plate; else one run each.
        beta: The weight of the KL, a number or a schedule.
        free_bits: The floor, in nats, of each latent site's KL averaged over the batch of a run: a
            number or a schedule. Unlike with beta < 1, latents above it keep their full gradient.
        capacity: The nats that the KL of a datum, averaged over the batch of a run, is held to: a
            number or a schedule, such as linear(0, 25, steps). At 0 the KL itself is paid.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114;
        beta: Higgins et al., 2017, https://openreview.net/forum?id=Sy2fzU9gl;
        free bits: Kingma et al., 2016, https://arxiv.org/abs/1606.04934, eq. 15;
        capacity: Burgess et al., 2018, https://arxiv.org/abs/1804.03599, eq. 8
    """

    vectorize_particles: bool = False  # type: ignore[misc]
    _: KW_ONLY
    beta: Weight = 1.0
    free_bits: Weight = 0.0
    capacity: Weight = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta", "free_bits", "capacity"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise ValueError(
                    f"{name} of {type(self).__name__} must be finite and not negative, "
                    f"but is {value}"
                )

    @property
    def pays_the_kl(self) -> bool:
        """Whether it pays beta times the KL, with neither a floor under it nor a capacity."""
        return self.free_bits == 0 and self.capacity == 0

    @property
    def is_bound(self) -> bool:
        """Whether it pays the KL as it is."""
        return self.pays_the_kl and self.beta == 1

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """That of drawn KLs, or itself where another KL is paid."""
        return Trace_ELBO(beta=self.beta) if self.pays_the_kl else self

    def kl(self, latent: Latent) -> Tensor:
        """The KL of one latent, (K, N)."""
        # The gradient of log q at a fixed draw has mean zero; what moves the draw's distribution
        # is the score-function term.
        log_q = latent.log_q if latent.reparameterized else latent.log_q.detach()
        return log_q - latent.log_p

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        return (t.log_px - number(self.beta) * self._held(self._rate(t.latents))).mean(0)

    def global_objective(self, t: Terms) -> Tensor | float:
        """Minus the weighted KL of the latents that all data share, and score-function terms."""
        rate = number(self.beta) * self._rate(t.global_latents)
        total = -rate.mean() if isinstance(rate, Tensor) else 0.0
        latents = {**t.latents, **t.global_latents}
        total = total - self._observed_by_guide(t)
        if not t.observed_by_guide and all(v.reparameterized for v in latents.values()):
            return total
        if torch.is_grad_enabled():
            drawn = {name: z.q for name, z in latents.items() if not z.reparameterized}
            check_support(drawn, type(self).__name__)
        scores = [self._score_function(*part.traces) for part in t.parts]
        surrogate = torch.as_tensor(sum(scores)) / self.num_particles
        return total + (surrogate - surrogate.detach())

    def check(self, t: Terms) -> None:
        """Refuses nothing: it is right for every program."""

    def _observed_by_guide(self, t: Terms) -> Tensor | float:
        """Log q of what the guide observes, which Pyro's `Trace_ELBO` takes off, as in its loss."""
        total: Tensor | float = 0.0
        for part in t.parts:
            for site in (part.traces[1].nodes[name] for name in t.observed_by_guide):
                held = is_identically_zero(site["score_parts"].entropy_term)
                total = total + (site["log_prob"].detach() if held else site["log_prob"]).sum()
        return total / self.num_particles

    def _rate(self, latents: Mapping[str, Latent]) -> Tensor | float:
        kls = [self.kl(latent) for latent in latents.values()]
        bits = number(self.free_bits)
        # At 0 the KL stays as it is: a drawn KL may well be negative.
        if isinstance(bits, Tensor):
            kls = [torch.where(bits > 0, kl.mean().clamp(min=bits), kl.mean()) for kl in kls]
        elif bits:
            kls = [kl.mean().clamp(min=bits) for kl in kls]
        return sum(kls)

    def _held(self, rate: Tensor | float) -> Tensor | float:
        """What is paid for the rate of the data's own latents."""
        capacity = number(self.capacity)
        if not isinstance(rate, Tensor) or (not isinstance(capacity, Tensor) and capacity == 0):
            return rate
        distance = (rate.mean() - capacity).abs()
        if isinstance(capacity, Tensor):
            return torch.where(capacity > 0, distance, rate.mean())
        return distance

    def _score_function(self, model_trace: Any, guide_trace: Any) -> Tensor:
        """Each latent's score times the part of log w that shares its plates, as in Pyro."""
        for name in ("free_bits", "capacity"):
            if getattr(self, name) != 0:
                raise ValueError(f"{name} needs latents with reparameterized draws (rsample)")
        log_w = MultiFrameTensor()
        for site in samples(model_trace):
            term = site["log_prob"]
            if not site["is_observed"]:
                term = self.beta * (term - guide_trace.nodes[site["name"]]["log_prob"])
            log_w.add((site["cond_indep_stack"], term.detach()))
        scores = [(site, site["score_parts"].score_function) for site in samples(guide_trace)]
        return sum(
            (log_w.sum_to(site["cond_indep_stack"]) * score).sum()
            for site, score in scores
            if not is_identically_zero(score)
        )


@dataclass(frozen=True)
class TraceMeanField_ELBO(Trace_ELBO, pyro.infer.TraceMeanField_ELBO):
    """The ELBO with each latent's KL(q || p) in closed form, where one is known.

    Often less noise than `Trace_ELBO`, though not near the posterior of a datum far from the prior,
    where sampled terms cancel. Right only where the guide samples each latent after those that the
    model's prior of it depends on: so both must sample in the same order, points aside, and each
    latent's draws must be reparameterized; Pyro only warns of the first. The density of a point,
    which is the Jacobian of an autoguide's constrained latent, counts as in `Trace_ELBO`, while
    Pyro's estimator of this name leaves it out.

    Raises:
        ValueError: When it runs a program for which it would be wrong.
    """

    reference = Trace_ELBO.reference

    def kl(self, latent: Latent) -> Tensor:
        """The KL of one latent, (K, N)."""
        return latent.kl()

    def _observed_by_guide(self, t: Terms) -> Tensor | float:
        return 0.0  # as in Pyro's

    def check(self, t: Terms) -> None:
        """Refuses draws without a gradient, and a guide that is not factorized as the model is."""
        self.check_reparameterized(t)
        latents = {**t.latents, **t.global_latents}
        model_order, guide_order = (
            [site["name"] for site in samples(trace) if site["name"] in latents]
            for trace in t.traces
        )
        guide_order = [name for name in guide_order if name in model_order]
        for name in guide_order:
            before = set(model_order[: model_order.index(name)])
            after = guide_order[guide_order.index(name) :]
            if before.isdisjoint(after) or not _is_averaged(latents[name]):
                continue
            raise ValueError(
                f"TraceMeanField_ELBO needs model and guide to sample in one order, but the model "
                f"samples {model_order} and the guide {guide_order}: its analytic KL would be "
                "wrong; reorder the guide or use Trace_ELBO"
            )


def _is_averaged(latent: Latent) -> bool:
    """Whether the KL is an average over the latent, and not that of its draw."""
    return not is_point(latent.q) and closed_kl(latent.q, latent.p) is not None
