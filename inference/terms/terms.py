"""The terms of log w = log p(x, z) - log q(z | x), read from one run of guide and model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from pyro_vae.factors import is_training_factor

from .divergence import closed_kl
from .layout import Layout
from .runs import Function, sample_sites, trace_again
from .support import check_support, invertible, is_point

__all__ = ["Latent", "Terms", "sum_of"]


@dataclass(frozen=True)
class Latent:
    """One latent site: its draw, its two distributions, and their log densities at the draw.

    The log densities have shape (K, N), for K particles and N data, with the site's inner plates
    and masks summed over; a site outside the data plate has N = 1.
    """

    z: Any
    p: TorchDistribution | None  # None for auxiliary sites, which the guide alone samples
    q: TorchDistribution
    log_p: Tensor
    log_q: Tensor
    reparameterized: bool
    reduce: Callable[[Tensor], Tensor]
    detached_q: TorchDistribution | None = None  # at detached draws; None if log_q has its score

    def kl(self) -> Tensor:
        """KL(q || p) in closed form where one is known, else the drawn log q - log p: (K, N)."""
        kl = None if self.p is None else closed_kl(self.q, self.p)
        if kl is None:
            return self.log_q - self.log_p
        return self.reduce(kl) if isinstance(kl, Tensor) else torch.zeros_like(self.log_q)


@dataclass(frozen=True)
class Terms:
    """The terms of log w = log p(x, z) - log q(z | x), for K particles and N data.

    Args:
        log_px: log p(x | z), (K, N), with the factors of each datum that are no training factors.
        latents: The latents of each datum, by name.
        global_latents: Those outside the data plate, shared by all data, with N = 1.
        factors: The training factors of each datum, by name, (K, N), unweighed; see
            `pyro_vae.training_factor`. No density counts them.
        global_factors: Those outside the data plate, (K, 1).
        outside: What the model observes outside the data plate, such as a penalty that it writes
            as a factor: the log density of each site, (K, 1).
        observed_by_guide: The names of the sites that the guide observes.
        layout: Where particles and data stand among the batch dimensions.
        rivals: The plates that might be the data's as well as that of the layout.
        traces: Of the model and of the guide, with the scales still in.
        functions: Model and guide in the particle plate.
        args: Their positional arguments.
        kwargs: Their keyword arguments.
        detached: The guide's trace with draws that carry no gradient, to replay either on.
    """

    log_px: Tensor
    latents: Mapping[str, Latent]
    global_latents: Mapping[str, Latent]
    factors: Mapping[str, Tensor]
    global_factors: Mapping[str, Tensor]
    outside: Mapping[str, Tensor]
    observed_by_guide: tuple[str, ...]
    layout: Layout
    rivals: tuple[CondIndepStackFrame, ...]
    traces: tuple[Any, ...]
    functions: tuple[Function, ...]
    args: Any
    kwargs: Any
    detached: Any

    @property
    def parts(self) -> tuple["Terms", ...]:
        """The terms of the runs that these come from: of one run."""
        return (self,)

    @property
    def program(self) -> tuple[Callable[[], Any], ...]:
        """Model and guide in the particle plate, with their arguments put in."""
        return tuple(lambda f=f: f(*self.args, **self.kwargs) for f in self.functions)

    @property
    def scale(self) -> float:
        """Size of the data plate over that of its subsample; the terms of the data lack it."""
        return self.layout.scale

    @property
    def latent_names(self) -> list[str]:
        """The latents of each datum as the model draws them: of a hierarchy from the top down."""
        return [name for name in self.traces[0].nodes if name in self.latents]

    @property
    def log_p(self) -> Tensor:
        """Log p(x, z), (K, N)."""
        return self.log_px + sum(latent.log_p for latent in self.latents.values())

    @property
    def log_q(self) -> Tensor:
        """Log q(z | x), (K, N)."""
        return sum((z.log_q for z in self.latents.values()), start=torch.zeros_like(self.log_px))

    @property
    def log_w(self) -> Tensor:
        """The log importance weight of each particle and datum, (K, N)."""
        return self.log_px + sum(latent.log_p - latent.log_q for latent in self.latents.values())

    def log_p_at_detached_draws(self) -> Tensor:
        """Log p(x, z), (K, N), with a gradient for the model's parameters alone: a second run."""
        sites = sample_sites(self._again(self.functions[0]))
        counted = [s for s in sites if self.layout.is_local(s) and not is_training_factor(s)]
        return sum_of(self.layout, counted)

    def without_score(self, user: str, *, points: bool = False) -> Self:
        """The same with the score taken out of log q's gradient: what flows through z stays.

        With several latents the guide runs once more, on draws that carry no gradient, because a
        later latent's distribution may depend on an earlier one's draw.

        Args:
            user: The estimator that asks, for the sentence that refuses a guide.
            points: Whether parameters may move points. These have no score to take out.
        """
        latents = {**self.latents, **self.global_latents}
        scored = {n: z for n, z in latents.items() if not (points and is_point(z.q))}
        if not torch.is_grad_enabled() or not scored:
            return self
        if len(scored) == 1:
            sites = [{"name": name, "fn": latent.q} for name, latent in scored.items()]
            with invertible(sites):
                log_q = {n: z.reduce(z.q.log_prob(z.z.detach())) for n, z in scored.items()}
        else:
            sites = [s for s in sample_sites(self._again(self.functions[1])) if s["name"] in scored]
            log_q = {s["name"]: self.layout.sum(s, s["log_prob"]) for s in sites}
        detached_q = {site["name"]: site["fn"] for site in sites}
        check_support(detached_q, user)

        def path_only(group: Mapping[str, Latent]) -> dict[str, Latent]:
            scores = {n: log_q[n] - log_q[n].detach() for n in group if n in log_q}
            without = {
                n: replace(group[n], log_q=group[n].log_q - score, detached_q=detached_q[n])
                for n, score in scores.items()
            }
            return {**group, **without}

        local, shared = path_only(self.latents), path_only(self.global_latents)
        return replace(self, latents=local, global_latents=shared)

    def gate(self, weight: Tensor) -> None:
        """Multiplies what flows from the model back into each draw by a weight (K, N).

        Not of terms whose model shares what the guide computed: `Estimator.shares_path`.
        """
        if not torch.is_grad_enabled():
            return
        for name in self.latents:
            site = self.traces[0].nodes.get(name)
            if site is not None and site["value"].requires_grad:
                factor = self.layout.spread(weight, site)
                site["value"].register_hook(lambda gradient, factor=factor: factor * gradient)

    def past_gate(self, value: Tensor, weight: Tensor) -> Tensor:
        """The value with a gradient that a `gate` of this weight leaves as it is.

        Call it before `gate`: afterwards the gradient in the draws is not known any more.

        Args:
            value: A number that depends on the draws, such as a mean of training factors.
            weight: That of the gate, (K, N).
        """
        missing = self.missing_behind_gate(value, weight)
        return value + (missing - missing.detach()) if isinstance(missing, Tensor) else value

    def missing_behind_gate(self, value: Tensor, weight: Tensor) -> Tensor | float:
        """What a gate of this weight takes from the gradient of a value in the guide's draws.

        Its value has no meaning; its gradient is the missing one. Call it before `gate`.
        """
        sites = {n: s for n, s in self.traces[0].nodes.items() if n in self.latents}
        draws = {n: s["value"] for n, s in sites.items() if s["value"].requires_grad}
        if not draws or not value.requires_grad:
            return 0.0
        gradients = torch.autograd.grad(
            value, list(draws.values()), retain_graph=True, allow_unused=True
        )
        missing: Tensor | float = 0.0
        for name, gradient in zip(draws, gradients, strict=True):
            if gradient is not None:
                rest = (1 - self.layout.spread(weight, sites[name])) * gradient
                missing = missing + (rest.detach() * self.latents[name].z).sum()
        return missing

    def _again(self, function: Function) -> Any:
        """The trace of another run, on the same draws without their gradient."""
        return trace_again(function, self.args, self.kwargs, self.detached)


def sum_of(layout: Layout, sites: Sequence[Mapping[str, Any]]) -> Tensor:
    """The log density of some sites, (K, N)."""
    terms = [layout.sum(site, site["log_prob"]) for site in sites]
    return sum(terms[1:], start=terms[0]) if terms else torch.zeros(1, 1)
