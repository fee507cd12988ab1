"""Refusals of programs whose value would be no bound on log p(x).

Such a program may be trained, as with a weight on its KL, but its value says nothing of log p(x).
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vae.distributions import is_estimated
from pyro_vae.factors import is_training_factor
from pyro_vae.inference.terms import (
    Latent,
    Terms,
    check_densities,
    check_one_bound_each,
    check_same_masks,
    inner,
    is_deterministic,
    is_factor,
    sample_sites,
    support_of,
    trace_guide,
    trace_model,
    which_count,
)

__all__ = [
    "are_fixed",
    "check_true_bounds",
    "check_true_weights",
    "points_of_guide",
    "warn_if_impossible",
]


def check_true_bounds(t: Terms, user: str) -> None:
    """Refuses terms whose mean is no bound on log p(x) for each datum.

    Args:
        t: The terms of a run without gradients.
        user: The function that returns the value, for the sentence.

    Raises:
        ValueError: If the guide observes data or has an `EstimatedDensity`, if a site is scaled
            otherwise than its plates scale it, if a latent is masked out on which the data depend,
            if a factor is added to the density of data that have one, if a site outside the data
            plate depends on the latents in it, or if it is not known which plate is that of the
            data.
    """
    check_one_bound_each(t, user)
    check_densities(t.traces, user, linear=True)
    for role, trace in zip(("model", "guide"), t.traces, strict=True):
        for site in sample_sites(trace):
            plates = [f.full_size / f.size for f in site["cond_indep_stack"] if f.full_size]
            _check_scale(site, math.prod(plates), role, user)
    _check_factors(t, user)
    _check_outside(t, user)
    _check_masks(t, user)


def check_true_weights(t: Terms, user: str) -> None:
    """Refuses terms whose mean weight is no estimate of p(x) for each datum.

    Raises:
        ValueError: As `check_true_bounds`, and if the model has an `EstimatedDensity`, if latents
            are shared by all data, if a plate other than that of the data is subsampled, or if the
            guide is a point, which has no density.
    """
    check_true_bounds(t, user)
    check_densities(t.traces, user, linear=False)
    if t.global_latents:
        raise ValueError(
            f"latents {list(t.global_latents)} stand outside the data plate, so no datum has a "
            "likelihood of its own; evaluate the bound"
        )
    for role, trace in zip(("model", "guide"), t.traces, strict=True):
        for site in sample_sites(trace):
            _check_scale(site, t.scale if t.layout.is_local(site) else 1.0, role, user)
    for name in points_of_guide(t):
        raise ValueError(
            f"{user} weighs draws by the guide's density, but the guide puts latent {name!r} "
            "on a point (Delta), where it has none; train a guide with a density, such as "
            "a normal one"
        )


def points_of_guide(t: Terms) -> list[str]:
    """The continuous latents that the guide puts on a point, where it has no density."""
    drawn = [site for site in sample_sites(t.traces[1]) if not site["is_observed"]]
    if any(site["infer"].get("is_auxiliary") for site in drawn):
        return []  # an automatic guide, whose points are functions of what it draws beside
    latents = {**t.latents, **t.global_latents}
    return [name for name, latent in latents.items() if _is_on_a_point(latent)]


def are_fixed(t: Terms) -> bool:
    """Whether all particles of a datum are one: its latents are points, and no density is drawn.

    So are the codes of a VQ-VAE, whose bound and log-likelihood one run tells.
    """
    model, guide = (sample_sites(trace) for trace in t.traces)
    drawn = {site["name"]: inner(site["fn"]) for site in guide if not is_factor(site)}
    return (
        all(type(fn).__name__ in ("CodePoint", "Delta") for fn in drawn.values())
        # Where a plate draws some of its rows, its sites are scaled.
        and all((torch.as_tensor(site["scale"]) == 1).all() for site in (*model, *guide))
        and all(site["is_observed"] or site["name"] in drawn for site in model)
        and not any(is_estimated(site["fn"]) for site in model)
    )


def _is_on_a_point(latent: Latent) -> bool:
    p, q = (type(inner(fn)).__name__ for fn in (latent.p, latent.q))
    return q == "Delta" and p != "Delta" and not support_of(latent.p).is_discrete


def warn_if_impossible(values: Tensor, t: Terms, user: str, *, stacklevel: int = 3) -> None:
    """Warns if the mean log p(x) of discrete data is positive by more than three standard errors.

    Args:
        values: The values, (N,).
        t: The terms of a run, which tell which sites are data.
        user: The function that returns the values, for the sentence.
        stacklevel: As of `warnings.warn`.
    """
    data = [site for site in sample_sites(t.traces[0]) if _is_data(site)]
    if len(values) < 2 or not data or not all(support_of(s["fn"]).is_discrete for s in data):
        return
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    if mean > 3 * error + 1e-3:
        names = ", ".join(f"{site['name']!r} ({_name(site)})" for site in data)
        warnings.warn(
            f"{user} finds {mean:.4g} nats per datum, but the data {names} are discrete, and no "
            "probability exceeds 1; a density of model or guide is not normalized, or the guide "
            "counts one that it does not draw from",
            stacklevel=stacklevel,
        )


def _check_scale(site: Mapping[str, Any], expected: float, role: str, user: str) -> None:
    scale = torch.as_tensor(site["scale"], dtype=torch.float64)
    if is_deterministic(site) or is_training_factor(site):
        return
    if torch.isclose(scale, scale.new_tensor(expected), 1e-6).all():
        return
    found = f"{scale.item():.6g}" if scale.numel() == 1 else "several numbers"
    raise ValueError(
        f"{user} needs the density of the data, but the {role} scales that of site "
        f"{site['name']!r} by {found}, where its plates account for {expected:.6g}; judge it with "
        "scale 1 (an annealing factor is 1 in the end), and subsample the data plate only"
    )


def _check_factors(t: Terms, user: str) -> None:
    """Refuses factors of the data beside a density of theirs; alone they may be that density."""
    sites = [site for site in sample_sites(t.traces[0]) if t.layout.is_local(site)]
    sites = [site for site in sites if not is_training_factor(site)]
    if not any(_is_data(site) for site in sites):
        return
    for site in sites:
        if is_factor(site) and torch.as_tensor(site["log_prob"]).ne(0).any():
            raise ValueError(
                f"{user} needs the density of the data, but factor {site['name']!r} of the model "
                "is added to it; leave it out where the program is judged, as training_factor of "
                "pyro_vae does, or make it a part of the distribution"
            )


def _check_masks(t: Terms, user: str) -> None:
    check_same_masks(t, user)
    latents = {**t.latents, **t.global_latents}
    counts = {name: which_count(t.traces[1].nodes[name]) for name in latents}
    masked = {name: ~mask for name, mask in counts.items() if not mask.all()}
    for name in _following(t, masked) if masked else []:
        raise ValueError(
            f"{user} needs every latent that the data depend on, but {list(masked)} are masked "
            f"out, and site {name!r} depends on them; judge the program without that mask"
        )


def _check_outside(t: Terms, user: str) -> None:
    """Refuses what stands outside the data plate and makes one density of all data together."""
    everything = {name: torch.tensor(True) for name in t.latents}
    following = _following(t, everything) if t.outside and t.latents else []
    for name in [name for name in following if name in t.outside]:
        raise ValueError(
            f"{user} needs a density for each datum, but site {name!r}, outside the data plate, "
            "depends on the latents of all data; put it in the plate, or state it as "
            "training_factor of pyro_vae, which is left out"
        )


def _following(t: Terms, latents: Mapping[str, Tensor]) -> list[str]:
    """The model's sites whose log density changes if latents are drawn anew.

    Args:
        t: The terms of a run.
        latents: Which numbers to draw anew, by the name of the latent.
    """
    with torch.random.fork_rng():
        torch.rand(1)  # or the draws would be the same, where those of `t` have left the generator
        again = trace_guide(t.functions[1], t.args, t.kwargs)
    changed = t.detached.copy()
    for name, anew in latents.items():
        site = t.detached.nodes[name]
        value = torch.where(
            anew.to(site["value"].device), again.nodes[name]["value"], site["value"]
        )
        changed.nodes[name] = {**site, "value": value}
    with torch.random.fork_rng():
        trace = trace_model(t.functions[0], changed, t.args, t.kwargs)
    trace.compute_log_prob()
    return [
        site["name"]
        for site in sample_sites(t.traces[0])
        # the noise of an estimate is no difference
        if not (is_training_factor(site) or is_estimated(site["fn"]))
        and not _is_close(site["log_prob"], trace.nodes[site["name"]]["log_prob"])
    ]


def _is_close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


def _is_data(site: Mapping[str, Any]) -> bool:
    return site["is_observed"] and not is_deterministic(site) and not is_factor(site)


def _name(site: Mapping[str, Any]) -> str:
    return type(inner(site["fn"])).__name__
