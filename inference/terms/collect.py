"""Runs a program for all particles and sorts the log densities of its sites into terms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro.distributions.util import is_identically_zero, scale_and_mask
from torch import Tensor

from pyro_vae.factors import is_training_factor, signed
from pyro_vae.repetition import repetition

from .joined import joined
from .layout import Layout, in_particles
from .observed import is_of_the_density
from .particles import Particles, Way, find_particles, repeated
from .plates import find_data_plate, is_deterministic, is_factor, num_rows
from .rows import settled
from .runs import Function, Run, run, sample_sites, subsamples
from .terms import Latent, Terms, sum_of

__all__ = ["collect"]


def collect(
    model: Function,
    guide: Function,
    args: Any,
    kwargs: Any,
    *,
    num_particles: int = 1,
    max_plate_nesting: float = math.inf,
    particles: Particles | None = None,
    detach_draws: bool = False,
    subsample: Any = None,
    share: bool = False,
) -> Terms:
    """Runs the pair for all particles and sorts the terms.

    Args:
        model: The model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        num_particles: K, the number of draws.
        max_plate_nesting: How many batch dimensions the plates of the pair take; infinity finds
            out.
        particles: How to run several particles; by default some runs more find out.
        detach_draws: Whether no gradient flows through the draws, reparameterized or not.
        subsample: The `subsamples` of another run, for plates that subsample by themselves.
        share: Whether model and guide share what both compute; see `run`. Without gradients they
            do in any case.

    Raises:
        ValueError: If model and guide do not sample the same latents in the same plates.
    """
    share = share or not torch.is_grad_enabled()
    one = _Call(model, guide, args, kwargs, detach_draws, subsample, share, max_plate_nesting)
    if num_particles == 1:
        return one.terms()
    if particles is None:
        particles = find_particles(model, guide, args, kwargs, max_plate_nesting)
    if particles.way is Way.IN_TURN:
        return _in_turn(one, num_particles)
    if particles.way is Way.FOLDED:
        args, kwargs = repeated(args, kwargs, num_particles, num_rows(args, kwargs))
        return replace(one, args=args, kwargs=kwargs).terms(num_particles, folded=True)
    dim = -particles.nesting - 1
    model, guide = (in_particles(f, num_particles, dim) for f in (model, guide))
    many = replace(one, model=model, guide=guide, max_plate_nesting=particles.nesting + 1)
    return many.terms(num_particles, dim)


def _in_turn(one: "_Call", num_particles: int) -> Terms:
    """The terms of one run for each particle, of the same data."""
    first = one.terms()
    if one.subsample is None:
        one = replace(one, subsample=subsamples(first.detached))
    with repetition():
        return joined([first, *(one.terms() for _ in range(num_particles - 1))])


@dataclass(frozen=True)
class _Call:
    """What is to be run."""

    model: Function
    guide: Function
    args: Any
    kwargs: Any
    detach_draws: bool
    subsample: Any
    share: bool
    max_plate_nesting: float

    def terms(
        self, num_particles: int = 1, particle_dim: int | None = None, *, folded: bool = False
    ) -> Terms:
        """The terms of one run."""
        ran = run(
            self.model,
            self.guide,
            self.args,
            self.kwargs,
            max_plate_nesting=self.max_plate_nesting,
            detach_draws=self.detach_draws,
            subsample=self.subsample,
            share=self.share,
        )
        sites = sample_sites(ran.model)
        plate = find_data_plate(sites, num_rows(self.args, self.kwargs))
        if plate.rivals:
            plate = settled(plate, self.model, self.guide, self.args, self.kwargs)
        layout = Layout.of(plate.frame, ran, num_particles, particle_dim, folded=folded)
        latents, global_latents = _latents(ran, layout)
        observed = [s for s in sites if is_of_the_density(s)]
        factors, global_factors = _training_factors(ran, layout)
        return Terms(
            log_px=sum_of(layout, [site for site in observed if layout.is_local(site)]),
            outside={s["name"]: sum_of(layout, [s]) for s in observed if not layout.is_local(s)},
            latents=latents,
            global_latents=global_latents,
            factors=factors,
            global_factors=global_factors,
            observed_by_guide=tuple(s["name"] for s in sample_sites(ran.guide) if _is_data(s)),
            layout=layout,
            rivals=plate.rivals,
            traces=(ran.model, ran.guide),
            functions=(self.model, self.guide),
            args=self.args,
            kwargs=self.kwargs,
            detached=ran.detached,
        )


def _latents(ran: Run, layout: Layout) -> tuple[dict[str, Latent], dict[str, Latent]]:
    """The latents of each datum, and those outside the data plate."""
    local: dict[str, Latent] = {}
    shared: dict[str, Latent] = {}
    for site in sample_sites(ran.guide):
        if is_deterministic(site) or is_training_factor(site) or _is_data(site):
            continue
        twin = ran.model.nodes.get(site["name"])
        if twin is not None and twin["is_observed"]:
            twin = None  # what an auxiliary site of the guide shares with data is its name alone
        layout.check_same_plates(site, twin)
        group = local if layout.is_local(site) else shared
        group[site["name"]] = _latent(site, twin, layout)
    return local, shared


def _training_factors(ran: Run, layout: Layout) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those of each datum, and those outside the data plate."""
    local: dict[str, Tensor] = {}
    shared: dict[str, Tensor] = {}
    for role, trace in (("model", ran.model), ("guide", ran.guide)):
        for site in filter(is_training_factor, sample_sites(trace)):
            name, group = site["name"], local if layout.is_local(site) else shared
            if name in {**local, **shared}:
                raise ValueError(
                    f"model and guide both state a training factor {name!r}; give them two names"
                )
            group[name] = signed(role, site, layout.sum(site, site["log_prob"]))
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
