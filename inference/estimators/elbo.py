"""The evidence lower bound, with drawn or analytic KL (Kingma and Welling, 2014, eqs. 2 and 10).

    ELBO = E_q[log p(x | z)] - beta * |sum_j max(KL_j, free_bits) - capacity|

where j runs over the latent sites, or over the single numbers of their draws. In a hierarchy each
site l may have a beta_l and a floor of its own, and the sites may be balanced:

    ELBO = E_q[log p(x | z)] - sum_l beta_l c_l max(KL_l, free_bits_l)

At beta = 1 without free bits and capacity these are Pyro's estimators of the same names: same loss,
same gradient. Other betas give the beta-VAE; as a schedule, KL warm-up.
"""

import functools
import operator
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions.util import is_identically_zero
from pyro.infer import ELBO
from pyro.infer.util import MultiFrameTensor
from torch import Tensor

from pyro_vae.factors import is_training_factor, signed
from pyro_vae.inference.terms import (
    Latent,
    Terms,
    check_support,
    closed_kl,
    counted,
    is_point,
    kl_of_numbers,
    numbers_of,
    sample_sites,
    weighted,
)

from .elbo_formula import formula_of_elbo
from .estimator import Estimator
from .factor_weights import Weight, is_zero, number
from .formula import Formula
from .kl_balance import KLBalance, coefficients, read_balance
from .notation import Notation
from .site_weights import SiteWeight, all_at_least_one, at_site, by_site, check_sites

__all__ = ["TraceMeanField_ELBO", "Trace_ELBO"]

_BY_SITE = ("beta", "free_bits", "free_bits_per_dimension")
_OTHERS = ("free_bits", "free_bits_per_dimension", "capacity")  # the weights beside beta


@dataclass(frozen=True)
class Trace_ELBO(Estimator, pyro.infer.Trace_ELBO):
    """The ELBO with each latent's KL estimated at the draws: E_q[log q(z | x) - log p(z)].

    Latents without reparameterized draws get Pyro's score-function gradient.

    Args:
        num_particles: Draws of the latents, averaged over.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        vectorize_particles: All draws in one run, in a plate; else one run each.
        beta: The weight of the KL, a number or a schedule; or a mapping from the names of latent
            sites to such, as {"z_2": linear(0, 1, 1000)}, 1 for the sites not named.
        free_bits: The floor, in nats, of each latent site's KL averaged over the batch of a run: a
            number or a schedule; or a mapping, as beta, 0 for the sites not named. Unlike with
            beta < 1, latents above it keep their full gradient. The KL of a site of many numbers is
            hardly ever below a floor that suits one number.
        free_bits_per_dimension: The floor of the KL of each number of a latent, instead of the
            site's, given in the same ways. The numbers must be independent in guide and prior.
        capacity: Target, in nats, for the KL of a datum averaged over the batch of a run: the
            penalty is beta |KL - capacity|. A number or a schedule, such as linear(0, 25, steps); 0
            turns it off.
        kl_balance: KL balancing while a beta is below 1, as in a warm-up: the KL of each site is
            multiplied by c_l, detached and 1 on average, which is the smaller the less of the KL
            the site has for its size. True takes the grids of the sites as sizes, each shared by
            the sites on a grid of this size; a mapping gives sizes by name, 1 for those not named.
        strict_enumeration_warning: Taken as Pyro's arguments are, for which it has no use; so are
            ignore_jit_warnings and jit_options.
        retain_graph: As in Pyro: whether backward keeps the graph.
        factors: The weights of training factors, as in every `Estimator`.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114;
        beta: Higgins et al., 2017, https://openreview.net/forum?id=Sy2fzU9gl;
        free bits: Kingma et al., 2016, https://arxiv.org/abs/1606.04934, eq. 15;
        capacity: Burgess et al., 2018, https://arxiv.org/abs/1804.03599, eq. 8;
        KL balancing: Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, appendix A
    """

    shares_path: ClassVar[bool] = True
    averages: ClassVar[bool] = False  # whether a KL is averaged over draws, by a formula

    vectorize_particles: bool = False  # type: ignore[misc]
    _: KW_ONLY
    beta: SiteWeight = 1.0
    free_bits: SiteWeight = 0.0
    free_bits_per_dimension: SiteWeight = 0.0
    capacity: Weight = 0.0
    kl_balance: KLBalance = False
    strict_enumeration_warning: bool = field(default=True, repr=False)  # type: ignore[misc]
    ignore_jit_warnings: bool = field(default=False, repr=False)
    jit_options: Mapping[str, Any] | None = field(default=None, repr=False)
    retain_graph: bool | None = field(default=None, repr=False)  # type: ignore[misc]

    def __post_init__(self) -> None:
        user = type(self).__name__
        for name in _BY_SITE:
            object.__setattr__(self, name, by_site(getattr(self, name), f"{name} of {user}"))
        object.__setattr__(self, "kl_balance", read_balance(self.kl_balance, user))
        super().__post_init__()
        by_site(self.capacity, f"capacity of {user}")
        if not is_zero(self.capacity) and (isinstance(self.beta, Mapping) or self.kl_balance):
            raise ValueError(
                f"{user} is given capacity, a target for the KL of all sites together, and sites "
                "that are weighed each by itself; leave out capacity, or give beta as one number "
                "and no kl_balance"
            )
        if not (is_zero(self.free_bits) or is_zero(self.free_bits_per_dimension)):
            raise ValueError(
                f"{user} is given free_bits, the floor of a whole site, and "
                "free_bits_per_dimension, the floor of each of its numbers; give one of them"
            )

    @property
    def has_plain_kl(self) -> bool:
        """Whether the penalty is the sum of beta KL: no free bits, capacity or KL balancing."""
        balances = self.kl_balance and not all_at_least_one(self.beta)
        return not balances and all(is_zero(getattr(self, name)) for name in _OTHERS)

    @property
    def is_linear(self) -> bool:
        """Whether the KL is plain: free bits, capacity and balancing are not linear in it."""
        return self.has_plain_kl

    @property
    def is_bound(self) -> bool:
        """Whether the KL is plain and beta is 1 at each site."""
        betas = self.beta.values() if isinstance(self.beta, Mapping) else [self.beta]
        return self.has_plain_kl and all(beta == 1 for beta in betas)

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """The same ELBO with drawn KLs; itself if the KL is not plain."""
        return Trace_ELBO(beta=self.beta) if self.has_plain_kl else self

    def kl(self, latent: Latent) -> Tensor:
        """The KL of one latent, (K, N)."""
        # The gradient of log q at a fixed draw has mean zero; what moves the draw's distribution
        # is the score-function term.
        log_q = latent.log_q if latent.reparameterized else latent.log_q.detach()
        return log_q - latent.log_p

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,)."""
        return (t.log_px - self.paid_for_kl(t)).mean(0)

    def formula(self, t: Terms, of: Notation) -> Formula:
        """The ELBO, with a term for each site that is observed, and for each latent."""
        return formula_of_elbo(self, t, of)

    def paid_for_kl(self, t: Terms) -> Tensor:
        """The weighted KL of the latents of each datum, (K, N), which the bound takes off."""
        return self._sum_of_weighted(self.kls(t))

    def kls(self, t: Terms) -> dict[str, Tensor]:
        """The KL of each latent of a datum, (K, N), floored and balanced, before beta.

        With a capacity it is one of all latents together, how far it is from that.
        """
        sites = (*t.latents, *t.global_latents)
        for name in (*_BY_SITE, "kl_balance"):
            check_sites(getattr(self, name), sites, f"{name} of {type(self).__name__}")
        kls = self._floored_kls(t, t.latents)
        if kls and self.kl_balance and not all_at_least_one(self.beta):
            kls = self._balanced(t, kls)
        if not is_zero(self.capacity):
            kls = {"all": self._held(t, torch.as_tensor(sum(kls.values())))}
        return kls

    def global_kls(self, t: Terms) -> dict[str, Tensor]:
        """Those of the latents that all data share, (K, 1), floored."""
        return self._floored_kls(t, t.global_latents)

    def global_objective(self, t: Terms) -> Tensor | float:
        """Minus the weighted KL of the latents that all data share, and score-function terms."""
        kls = self.global_kls(t)
        total = -self._sum_of_weighted(kls).mean() if kls else 0.0
        latents = {**t.latents, **t.global_latents}
        total = total - self.observed_by_guide(t)
        if not t.observed_by_guide and all(v.reparameterized for v in latents.values()):
            return total
        if torch.is_grad_enabled():
            one = {**t.parts[0].latents, **t.parts[0].global_latents}
            drawn = {name: z.q for name, z in one.items() if not z.reparameterized}
            check_support(drawn, type(self).__name__)
        scores = [self._score_function(*part.traces) for part in t.parts]
        surrogate = torch.as_tensor(sum(scores)) / self.num_particles
        return total + (surrogate - surrogate.detach())

    def check(self, t: Terms) -> None:
        """Refuses nothing: it is right for every program."""

    def observed_by_guide(self, t: Terms) -> Tensor | float:
        """Log q of what the guide observes, which Pyro's `Trace_ELBO` takes off, as in its loss."""
        total: Tensor | float = 0.0
        for part in t.parts:
            for site in (part.traces[1].nodes[name] for name in t.observed_by_guide):
                is_score = is_identically_zero(site["score_parts"].entropy_term)
                log_q = site["log_prob"].detach() if is_score else site["log_prob"]
                total = total + log_q.sum()
        return total / self.num_particles

    def _sum_of_weighted(self, kls: Mapping[str, Tensor]) -> Tensor:
        if isinstance(self.beta, Mapping):
            each = (weighted(number(at_site(self.beta, n, 1.0)), kl) for n, kl in kls.items())
            return torch.as_tensor(sum(each))
        return weighted(number(self.beta), torch.as_tensor(sum(kls.values())))

    def _balanced(self, t: Terms, kls: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The KLs, each times its coefficient while the beta of any is below 1."""
        below = [number(at_site(self.beta, name, 1.0)) < 1 for name in kls]  # tensors in a graph
        acts = functools.reduce(operator.or_, below)
        balance = coefficients(self.kl_balance, t.latents, kls)
        if isinstance(acts, Tensor):
            balance = {name: torch.where(acts, each, 1.0) for name, each in balance.items()}
        return {name: balance[name] * kl if acts is not False else kl for name, kl in kls.items()}

    def _floored_kls(self, t: Terms, latents: Mapping[str, Latent]) -> dict[str, Tensor]:
        """The KL of each of these latents, with its floor: (K, N)."""
        return {name: self._floored(t, name, latent) for name, latent in latents.items()}

    def _floored(self, t: Terms, name: str, latent: Latent) -> Tensor:
        """What a latent's KL comes to, (K, N): a drawn one may be negative where no floor is."""
        kl = self.kl(latent)
        floors = (self.free_bits, self.free_bits_per_dimension)
        bits, each = (number(at_site(floor, name, 0.0)) for floor in floors)
        if not is_zero(bits):
            counts = counted(t, name).amax(-1, keepdim=True)
            kl = _where_positive(bits, _floor(kl.reshape(-1, 1), counts, bits).view_as(kl), kl)
        if not is_zero(each):
            numbers = torch.cat([self._kl_of_numbers(part, name) for part in t.parts])
            floored = _floor(numbers, counted(t, name), each)
            kl = _where_positive(each, floored.view_as(kl), kl)
        return kl

    def _kl_of_numbers(self, t: Terms, name: str) -> Tensor:
        """The KL of each number of a latent, (K N, D)."""
        latent = {**t.latents, **t.global_latents}[name]
        kl = kl_of_numbers(
            latent.q, latent.p, latent.z, averaged=self.averages, detached_q=latent.detached_q
        )
        if latent.p is None:
            raise ValueError(
                "free_bits_per_dimension needs latents that the guide draws at sites of their own, "
                f"but {name!r} is an auxiliary site, of which an autoguide makes the latent; use "
                "free_bits, the floor of the whole site"
            )
        if kl is None:
            raise ValueError(
                "free_bits_per_dimension needs numbers that are independent in guide and prior, "
                f"as of Normal(...).to_event(1), but those of {name!r} depend on each other in "
                f"{latent.q} or {latent.p}; use free_bits, the floor of the whole site"
            )
        return numbers_of(t, name, kl)

    def _held(self, t: Terms, rate: Tensor) -> Tensor:
        """What is paid for the rate of the data's own latents, (K, N)."""
        capacity = number(self.capacity)
        if is_zero(capacity) or not t.latents:
            return rate
        counts = torch.stack([counted(t, name).amax(-1) for name in t.latents]).amax(0)
        mean = rate.sum() / counts.sum().clamp(min=1)
        distance = (mean - _like(mean, capacity)).abs()
        return _where_positive(capacity, counts.view_as(rate) * distance, rate)

    def _score_function(self, model_trace: Any, guide_trace: Any) -> Tensor:
        """Each latent's score times the part of log w that shares its plates, as in Pyro."""
        for name in (*_OTHERS, "kl_balance"):
            if not is_zero(getattr(self, name)):
                raise ValueError(f"{name} needs latents with reparameterized draws (rsample)")
        log_w = MultiFrameTensor()
        for site in sample_sites(model_trace):
            term = site["log_prob"]
            if is_training_factor(site):
                continue
            if not site["is_observed"]:
                beta = at_site(self.beta, site["name"], 1.0)
                term = number(beta) * (term - guide_trace.nodes[site["name"]]["log_prob"])
            log_w.add((site["cond_indep_stack"], term.detach()))
        for role, trace in (("model", model_trace), ("guide", guide_trace)):
            for site in filter(is_training_factor, sample_sites(trace)):
                term = signed(role, site, site["log_prob"].detach())
                term = weighted(number(self.factors.get(site["name"], 1.0)), term)
                log_w.add((site["cond_indep_stack"], term))
        drawn = [site for site in sample_sites(guide_trace) if not is_training_factor(site)]
        scores = [(site, site["score_parts"].score_function) for site in drawn]
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

    averages: ClassVar[bool] = True

    reference, is_linear = Trace_ELBO.reference, Trace_ELBO.is_linear
    shares_path, formula = Trace_ELBO.shares_path, Trace_ELBO.formula

    def kl(self, latent: Latent) -> Tensor:
        """The KL of one latent, (K, N)."""
        return latent.kl()

    def observed_by_guide(self, t: Terms) -> Tensor | float:
        """Nothing, as in Pyro's."""
        return 0.0

    def check(self, t: Terms) -> None:
        """Refuses draws without a gradient, and a guide that is not factorized as the model is."""
        self.check_reparameterized(t)
        latents = {**t.parts[0].latents, **t.parts[0].global_latents}
        model_order, guide_order = (
            [site["name"] for site in sample_sites(trace) if site["name"] in latents]
            for trace in t.traces
        )
        guide_order = [name for name in guide_order if name in model_order]
        for name in guide_order:
            before = set(model_order[: model_order.index(name)])
            after = guide_order[guide_order.index(name) :]
            if before.isdisjoint(after) or not _is_averaged(latents[name]):
                continue
            raise ValueError(
                f"{type(self).__name__} needs model and guide to sample in one order, but the "
                f"model samples {model_order} and the guide {guide_order}: its analytic KL would "
                "be wrong; reorder the guide or use Trace_ELBO"
            )


def _floor(kl: Tensor, counts: Tensor, bits: Tensor | float) -> Tensor:
    """max(mean KL, bits) of each column, paid by each row that counts in it: (R, D) -> (R,)."""
    mean = kl.sum(0) / counts.sum(0).clamp(min=1)
    return (counts * mean.clamp(min=_like(mean, bits))).sum(-1)


def _like(value: Tensor, weight: Tensor | float) -> Tensor | float:
    return weight.to(value) if isinstance(weight, Tensor) else weight


def _where_positive(weight: Tensor | float, then: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(weight > 0, then, otherwise) if isinstance(weight, Tensor) else then


def _is_averaged(latent: Latent) -> bool:
    """Whether the KL is an average over the latent, and not that of its draw."""
    return not is_point(latent.q) and closed_kl(latent.q, latent.p) is not None
