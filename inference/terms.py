"""The terms of log w = log p(x, z) - log q(z | x), read from one run of guide and model."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_site_shape
from torch import Tensor
from torch.distributions import kl_divergence

from .layout import Layout, data_plate, in_particles, samples

__all__ = ["Function", "Latent", "Terms", "collect", "joined", "plate_nesting", "run"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class Latent:
    """One latent site: its draw, its two distributions, and their log densities at the draw.

    The log densities have shape (K, N), for K particles and N data, with the site's inner plates
    and masks summed over; a site outside the data plate has N = 1.
    """

    z: Any
    p: TorchDistribution
    q: TorchDistribution
    log_p: Tensor
    log_q: Tensor
    reparameterized: bool
    reduce: Callable[[Tensor], Tensor]

    def kl(self) -> Tensor:
        """KL(q || p) in closed form where one is known, else the drawn log q - log p: (K, N)."""
        try:
            return self.reduce(kl_divergence(self.q, self.p))
        except NotImplementedError:
            return self.log_q - self.log_p


@dataclass(frozen=True)
class Terms:
    """The terms of log w = log p(x, z) - log q(z | x), for K particles and N data.

    Args:
        log_px: log p(x | z), (K, N).
        latents: The latents of each datum, by name.
        global_latents: Those outside the data plate, shared by all data, with N = 1.
        layout: Where particles and data stand among the batch dimensions.
        traces: Of the model and of the guide, with the scales still in.
        program: Model and guide in the particle plate, with their arguments put in.
        held: The guide's trace with draws that carry no gradient, to replay either on.
    """

    log_px: Tensor
    latents: Mapping[str, Latent]
    global_latents: Mapping[str, Latent]
    layout: Layout
    traces: tuple[Any, ...]
    program: tuple[Function, ...]
    held: Any

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
        trace = self._again(self.program[0])
        return _sum(self.layout, samples(trace))

    def without_score(self) -> Self:
        """The same with the score taken out of log q's gradient: what flows through z stays.

        With several latents the guide runs once more, on draws that carry no gradient, because a
        later latent's distribution may depend on an earlier one's draw.
        """
        latents = {**self.latents, **self.global_latents}
        if not torch.is_grad_enabled() or not latents:
            return self
        if len(latents) == 1:
            held = {n: z.reduce(z.q.log_prob(z.z.detach())) for n, z in latents.items()}
        else:
            trace = self._again(self.program[1])
            held = {s["name"]: self.layout.sum(s, s["log_prob"]) for s in samples(trace)}

        def path_only(group: Mapping[str, Latent]) -> dict[str, Latent]:
            return {
                name: replace(latent, log_q=latent.log_q - (held[name] - held[name].detach()))
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
        trace = prune_subsample_sites(_trace(function, replay=self.held))
        trace.compute_log_prob()
        return trace


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
    program = tuple(
        lambda function=function: in_particles(function, num_particles, particle_dim)(
            *args, **kwargs
        )
        for function in (model, guide)
    )
    model_trace, guide_trace, held = run(*program, hold_draws=hold_draws)
    layout = Layout(num_particles, particle_dim, data_plate(samples(model_trace)))
    latents: dict[str, Latent] = {}
    global_latents: dict[str, Latent] = {}
    for site in samples(guide_trace):
        twin = model_trace.nodes.get(site["name"])  # None for auxiliary sites of autoguides
        layout.check_same_plates(site, twin)
        group = latents if layout.holds(site) else global_latents
        group[site["name"]] = _latent(site, twin, layout)
    return Terms(
        log_px=_sum(layout, [site for site in samples(model_trace) if site["is_observed"]]),
        latents=latents,
        global_latents=global_latents,
        layout=layout,
        traces=(model_trace, guide_trace),
        program=program,
        held=held,
    )


def run(
    model: Function, guide: Function, *args: Any, hold_draws: bool = False, **kwargs: Any
) -> tuple[Any, Any, Any]:
    """Traces the guide, and the model replayed on its draws, with their log densities.

    Returns:
        The model's trace, the guide's, and the guide's with draws that carry no gradient.
    """
    with _HoldDraws() if hold_draws else nullcontext():
        drawn = _trace(guide, *args, **kwargs)
    model_trace = _trace(model, *args, replay=_with_values(drawn, _alias), **kwargs)
    held = _with_values(drawn, torch.detach)
    model_trace, guide_trace = prune_subsample_sites(model_trace), prune_subsample_sites(drawn)
    _check_same_latents(model_trace, guide_trace)
    model_trace.compute_log_prob()
    guide_trace.compute_score_parts()
    if pyro.settings.get("validate_poutine"):
        for site in (*samples(model_trace), *samples(guide_trace)):
            check_site_shape(site, max_plate_nesting=math.inf)
    return model_trace, guide_trace, held


def plate_nesting(model: Function, guide: Function, args: Any, kwargs: Any) -> int:
    """How many batch dimensions the plates of the pair take, found by running it once."""
    with torch.no_grad(), poutine.block():
        *traces, _ = run(model, guide, *args, **kwargs)
    frames = [f for t in traces for site in samples(t) for f in site["cond_indep_stack"]]
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
    )


class _HoldDraws(Messenger):
    """Stops the gradient at each draw, before anything depends on it."""

    def _pyro_post_sample(self, message: Any) -> None:
        if not message["is_observed"] and isinstance(message["value"], Tensor):
            message["value"] = message["value"].detach()


def _trace(function: Function, *args: Any, replay: Any = None, **kwargs: Any) -> Any:
    if replay is not None:
        function = poutine.replay(function, trace=replay)
    return poutine.trace(function).get_trace(*args, **kwargs)


def _with_values(trace: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a trace with its draws changed."""
    copy = trace.copy()
    for site in samples(trace):
        if isinstance(site["value"], Tensor):
            copy.nodes[site["name"]] = {**site, "value": change(site["value"])}
    return copy


def _alias(z: Tensor) -> Tensor:
    """The draw as the model sees it: what `Terms.gate` holds back must not pass in the guide."""
    return z.view_as(z) if z.requires_grad else z


def _sum(layout: Layout, sites: Sequence[Mapping[str, Any]]) -> Tensor:
    """The log density of some sites, (K, N)."""
    terms = [layout.sum(site, site["log_prob"]) for site in sites]
    return sum(terms[1:], start=terms[0]) if terms else torch.zeros(1, 1)


def _latent(site: Mapping[str, Any], twin: Mapping[str, Any] | None, layout: Layout) -> Latent:
    log_q = layout.sum(site, site["log_prob"])
    return Latent(
        z=site["value"],
        p=twin["fn"] if twin else site["fn"],
        q=site["fn"],
        log_p=layout.sum(twin, twin["log_prob"]) if twin else 0 * log_q,
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
