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
from .particles import Particles, Way, find_particles, repeated
from .plates import find_data_plate, is_deterministic, is_factor, rows_of
from .rows import settled
from .runs import Function, Run, run, samples, subsamples
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
    hold_draws: bool = False,
    subsample: Any = None,
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
        hold_draws: Whether no gradient flows through the draws, reparameterized or not.
        subsample: The `subsamples` of another run, for plates that subsample by themselves.

    Raises:
        ValueError: If model and guide do not sample the same latents in the same plates.
    """
    one = _Call(model, guide, args, kwargs, hold_draws, subsample, max_plate_nesting)
    if num_particles == 1:
        return one.terms()
    if particles is None:
        particles = find_particles(model, guide, args, kwargs, max_plate_nesting)
    if particles.way is Way.IN_TURN:
        return _in_turn(one, num_particles)
    if particles.way is Way.FOLDED:
        args, kwargs = repeated(args, kwargs, num_particles, rows_of(args, kwargs))
        return replace(one, args=args, kwargs=kwargs).terms(num_particles, folded=True)
    dim = -particles.nesting - 1
    model, guide = (in_particles(f, num_particles, dim) for f in (model, guide))
    many = replace(one, model=model, guide=guide, max_plate_nesting=particles.nesting + 1)
    return many.terms(num_particles, dim)


def _in_turn(one: "_Call", num_particles: int) -> Terms:
    """The terms of one run for each particle, of the same data."""
    first = one.terms()
    if one.subsample is None:
        one = replace(one, subsample=subsamples(first.held))
    with repetition():
        return joined([first, *(one.terms() for _ in range(num_particles - 1))])


@dataclass(frozen=True)
class _Call:
    """What is to be run."""

    model: Function
    guide: Function
    args: Any
    kwargs: Any
    hold_draws: bool
    subsample: Any
    max_plate_nesting: float

    def terms(
        self, num_particles: int = 1, particle_dim: int | None = None, *, folded: bool = False
    ) -> Terms:
        """The terms of one run."""
        found = run(
            self.model,
            self.guide,
            self.args,
            self.kwargs,
            max_plate_nesting=self.max_plate_nesting,
            hold_draws=self.hold_draws,
            subsample=self.subsample,
        )
        sites = samples(found.model)
        plate = find_data_plate(sites, rows_of(self.args, self.kwargs))
        if plate.rivals:
            plate = settled(plate, self.model, self.guide, self.args, self.kwargs)
        layout = Layout.of(plate.frame, found, num_particles, particle_dim, folded=folded)
        latents, global_latents = _latents(found, layout)
        observed = [s for s in sites if _is_of_the_density(s)]
        factors, global_factors = _training_factors(found, layout)
        return Terms(
            log_px=sum_of(layout, [site for site in observed if layout.holds(site)]),
            outside={s["name"]: sum_of(layout, [s]) for s in observed if not layout.holds(s)},
            latents=latents,
            global_latents=global_latents,
            factors=factors,
            global_factors=global_factors,
            observed_by_guide=tuple(s["name"] for s in samples(found.guide) if _is_data(s)),
            layout=layout,
            rivals=plate.rivals,
            traces=(found.model, found.guide),
            functions=(self.model, self.guide),
            args=self.args,
            kwargs=self.kwargs,
            held=found.held,
        )


def _latents(found: Run, layout: Layout) -> tuple[dict[str, Latent], dict[str, Latent]]:
    """The latents of each datum, and those outside the data plate."""
    local: dict[str, Latent] = {}
    shared: dict[str, Latent] = {}
    for site in samples(found.guide):
        if is_deterministic(site) or is_training_factor(site) or _is_data(site):
            continue
        twin = found.model.nodes.get(site["name"])
        if twin is not None and twin["is_observed"]:
            twin = None  # what an auxiliary site of the guide shares with data is its name alone
        layout.check_same_plates(site, twin)
        group = local if layout.holds(site) else shared
        group[site["name"]] = _latent(site, twin, layout)
    return local, shared


def _training_factors(found: Run, layout: Layout) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those of each datum, and those outside the data plate."""
    local: dict[str, Tensor] = {}
    shared: dict[str, Tensor] = {}
    for role, trace in (("model", found.model), ("guide", found.guide)):
        for site in filter(is_training_factor, samples(trace)):
            name, group = site["name"], local if layout.holds(site) else shared
            if name in {**local, **shared}:
                raise ValueError(
                    f"model and guide both state a training factor {name!r}; give them two names"
                )
            group[name] = signed(role, site, layout.sum(site, site["log_prob"]))
    return local, shared


def _is_of_the_density(site: Mapping[str, Any]) -> bool:
    """Whether a site of the model is observed and counts in log p(x, z)."""
    return site["is_observed"] and not (is_deterministic(site) or is_training_factor(site))


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
