"""The terms of log w = log p(x, z) - log q(z | x), read from one run of guide and model."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from .divergence import closed_kl
from .layout import Layout, in_particles, samples
from .plates import find_data_plate, is_deterministic, is_factor, rows_of
from .runs import Function, Run, leaving_no_trace, run, trace_again
from .support import check_support, invertible, is_point

__all__ = ["Function", "Latent", "Terms", "collect", "joined", "plate_nesting"]


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
        log_px: log p(x | z), (K, N), with the factors of each datum.
        latents: The latents of each datum, by name.
        global_latents: Those outside the data plate, shared by all data, with N = 1.
        outside: What the model observes outside the data plate, such as a penalty that it writes
            as a factor: the log density of each site, (K, 1).
        observed_by_guide: The names of the sites that the guide observes.
        layout: Where particles and data stand among the batch dimensions.
        rivals: The plates that might be the data's as well as that of the layout.
        traces: Of the model and of the guide, with the scales still in.
        functions: Model and guide in the particle plate.
        args: Their positional arguments.
        kwargs: Their keyword arguments.
        held: The guide's trace with draws that carry no gradient, to replay either on.
    """

    log_px: Tensor
    latents: Mapping[str, Latent]
    global_latents: Mapping[str, Latent]
    outside: Mapping[str, Tensor]
    observed_by_guide: tuple[str, ...]
    layout: Layout
    rivals: tuple[CondIndepStackFrame, ...]
    traces: tuple[Any, ...]
    functions: tuple[Function, ...]
    args: Any
    kwargs: Any
    held: Any

    @property
    def parts(self) -> tuple[Self, ...]:
        """The terms of the runs that these come from: one run."""
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

    def log_p_at_held_draws(self) -> Tensor:
        """Log p(x, z), (K, N), with a gradient for the model's parameters alone: a second run."""
        sites = samples(self._again(self.functions[0]))
        return _sum(self.layout, [site for site in sites if self.layout.holds(site)])

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
                held = {n: z.reduce(z.q.log_prob(z.z.detach())) for n, z in scored.items()}
        else:
            sites = [s for s in samples(self._again(self.functions[1])) if s["name"] in scored]
            held = {s["name"]: self.layout.sum(s, s["log_prob"]) for s in sites}
        check_support({site["name"]: site["fn"] for site in sites}, user)
        scores = {name: log_q - log_q.detach() for name, log_q in held.items()}

        def path_only(group: Mapping[str, Latent]) -> dict[str, Latent]:
            return {
                name: replace(latent, log_q=latent.log_q - scores[name])
                if name in scores
                else latent
                for name, latent in group.items()
            }

        local, shared = path_only(self.latents), path_only(self.global_latents)
        return replace(self, latents=local, global_latents=shared)

    def gate(self, weight: Tensor) -> None:
        """Multiplies what flows from the model back into each draw by a weight (K, N)."""
        if not torch.is_grad_enabled():
            return
        for name in self.latents:
            site = self.traces[0].nodes.get(name)
            if site is not None and site["value"].requires_grad:
                factor = self.layout.spread(weight, site)
                site["value"].register_hook(lambda gradient, factor=factor: factor * gradient)

    def _again(self, function: Function) -> Any:
        """The trace of another run, on the same draws without their gradient."""
        return trace_again(function, self.args, self.kwargs, self.held)


def collect(
    model: Function,
    guide: Function,
    args: Any,
    kwargs: Any,
    *,
    num_particles: int = 1,
    max_plate_nesting: float = math.inf,
    hold_draws: bool = False,
) -> Terms:
    """Runs the pair once for all particles, in a plate to the left of its own, and sorts the terms.

    Args:
        model: The model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        num_particles: K, the number of draws.
        max_plate_nesting: How many batch dimensions the plates of the pair take; infinity finds
            out by running the pair once more.
        hold_draws: Whether no gradient flows through the draws, reparameterized or not.

    Raises:
        ValueError: If model and guide do not sample the same latents in the same plates.
    """
    particle_dim = None
    if num_particles > 1:
        if math.isinf(max_plate_nesting):
            max_plate_nesting = plate_nesting(model, guide, args, kwargs)
        particle_dim = -int(max_plate_nesting) - 1
    functions = tuple(in_particles(f, num_particles, particle_dim) for f in (model, guide))
    depth = max_plate_nesting + (particle_dim is not None)
    one = run(*functions, args, kwargs, max_plate_nesting=depth, hold_draws=hold_draws)
    sites = samples(one.model)
    found = find_data_plate(sites, rows_of(args, kwargs))
    layout = Layout.of(num_particles, particle_dim, found.frame, one.model, one.guide)
    latents, global_latents = _latents(one, layout)
    observed = [s for s in sites if s["is_observed"] and not is_deterministic(s)]
    return Terms(
        log_px=_sum(layout, [site for site in observed if layout.holds(site)]),
        outside={s["name"]: _sum(layout, [s]) for s in observed if not layout.holds(s)},
        latents=latents,
        global_latents=global_latents,
        observed_by_guide=tuple(site["name"] for site in samples(one.guide) if _is_data(site)),
        layout=layout,
        rivals=found.rivals,
        traces=(one.model, one.guide),
        functions=functions,
        args=args,
        kwargs=kwargs,
        held=one.held,
    )


def plate_nesting(model: Function, guide: Function, args: Any, kwargs: Any) -> int:
    """How many batch dimensions the plates of the pair take, found by running it once.

    The random generators and the buffers of modules stay as they are.
    """
    with torch.no_grad(), poutine.block(), leaving_no_trace():
        found = run(model, guide, args, kwargs)
    sites = (*samples(found.model), *samples(found.guide))
    frames = [frame for site in sites for frame in site["cond_indep_stack"]]
    return max((-frame.dim for frame in frames if frame.vectorized), default=0)


def joined(parts: Iterable[Terms], check: Callable[[Terms], None]) -> Terms:
    """The terms of all particles from those of chunks of them; draws and traces stay behind.

    Args:
        parts: The chunks, one at a time.
        check: Refuses the first, if need be.
    """
    bare: list[Terms] = []
    for part in parts:
        if not bare:
            check(part)
        latents = {n: replace(v, z=None, p=None, q=None) for n, v in part.latents.items()}
        bare.append(replace(part, latents=latents, traces=(), held=None))

    def cat(latents: Sequence[Latent]) -> Latent:
        log_p = torch.cat([latent.log_p for latent in latents])
        log_q = torch.cat([latent.log_q for latent in latents])
        return replace(latents[0], log_p=log_p, log_q=log_q)

    return replace(
        bare[0],
        log_px=torch.cat([part.log_px for part in bare]),
        latents={name: cat([part.latents[name] for part in bare]) for name in bare[0].latents},
        outside={
            name: torch.cat([part.outside[name].expand(len(part.log_px), -1) for part in bare])
            for name in bare[0].outside
        },
    )


def _sum(layout: Layout, sites: Sequence[Mapping[str, Any]]) -> Tensor:
    """The log density of some sites, (K, N)."""
    terms = [layout.sum(site, site["log_prob"]) for site in sites]
    return sum(terms[1:], start=terms[0]) if terms else torch.zeros(1, 1)


def _latents(one: Run, layout: Layout) -> tuple[dict[str, Latent], dict[str, Latent]]:
    """The latents of each datum, and those outside the data plate."""
    local: dict[str, Latent] = {}
    shared: dict[str, Latent] = {}
    for site in samples(one.guide):
        if is_deterministic(site) or _is_data(site):
            continue
        twin = one.model.nodes.get(site["name"])
        if twin is not None and twin["is_observed"]:
            twin = None  # what an auxiliary site of the guide shares with data is its name alone
        layout.check_same_plates(site, twin)
        group = local if layout.holds(site) else shared
        group[site["name"]] = _latent(site, twin, layout)
    return local, shared


def _is_data(site: Mapping[str, Any]) -> bool:
    return site["is_observed"] and not is_deterministic(site) and not is_factor(site)


def _latent(site: Mapping[str, Any], twin: Mapping[str, Any] | None, layout: Layout) -> Latent:
    log_q = layout.sum(site, site["log_prob"])
    return Latent(
        z=site["value"],
        p=twin["fn"] if twin else None,
        q=site["fn"],
        log_p=layout.sum(twin, twin["log_prob"]) if twin else torch.zeros_like(log_q),
        log_q=log_q,
        reparameterized=is_identically_zero(site["score_parts"].score_function),
        reduce=lambda t: layout.sum(site, scale_and_mask(t, site["scale"], site["mask"])),
    )


def _check_same_latents(model_trace: Any, guide_trace: Any) -> None:
    model = [s["name"] for s in samples(model_trace) if not s["is_observed"]]
    guide = [s["name"] for s in samples(guide_trace) if not s["is_observed"]]
    auxiliary = {s["name"] for s in samples(guide_trace) if s["infer"].get("is_auxiliary")}
    if set(model) != set(guide) - (auxiliary - set(model)):
        raise ValueError(
            f"model samples {model} but guide samples {guide}; every latent site of the model "
            "needs a site of the same name in the guide, and the other way round"
        )
