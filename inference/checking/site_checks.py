"""Refusals of sites that cannot be right, in a sentence that names the site."""

import math
import warnings
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.util import check_site_shape

from pyro_vae.distributions import TokenSequences
from pyro_vae.factors import is_training_factor
from pyro_vae.inference.terms import (
    inner,
    is_deterministic,
    otherwise_masked,
    sample_sites,
    support_of,
    which_count,
)

__all__ = [
    "check_latents",
    "check_plate",
    "check_site",
    "name_of",
    "plates_of",
    "warn_of_masks",
]


def check_plate(plate: Any, num_data: int) -> None:
    """Refuses data outside a plate, for an estimator that has a bound for each datum.

    Args:
        plate: The plate of the data, if there is one.
        num_data: The number of data in the batch.
    """
    subsampled = plate is not None and plate.full_size and plate.full_size != plate.size
    if num_data == 1 or subsampled or (plate is not None and plate.size == num_data):
        return
    found = f"plate {plate.name!r} of size {plate.size}" if plate is not None else "no plate"
    raise ValueError(
        f"the {num_data} data stand in {found}, so none has a bound of its own; put the data in "
        'pyro.plate("data", len(x)), by `with` and not by `for`'
    )


def warn_of_masks(model_trace: Any, guide_trace: Any, user: str) -> None:
    """Warns of latents whose masks differ, which an estimator trains with as Pyro's do."""
    names = otherwise_masked(model_trace, guide_trace)
    if names:
        warnings.warn(
            f"latents {names} are masked otherwise in the model than in the guide, so that {user} "
            "counts one of log p and log q without the other, and its value is no bound; give "
            "them one mask",
            stacklevel=4,
        )


def check_latents(model_trace: Any, guide_trace: Any) -> None:
    """Refuses a guide that misses or adds a latent, and a model that observes nothing."""
    latents = [s for s in sample_sites(model_trace) if not s["is_observed"]]
    drawn = {s["name"]: s for s in sample_sites(guide_trace) if not s["is_observed"]}
    for site in latents:
        name = site["name"]
        if name not in drawn and not site["infer"].get("enumerate"):
            raise ValueError(
                f"the guide has no site {name!r}, which the model samples; add "
                f"pyro.sample({name!r}, ...) to the guide, or observe it in the model with obs=..."
            )
        if name in drawn:
            _check_same_shape(site, drawn[name])
            _check_same_values(site, drawn[name])
    names = {site["name"] for site in latents}
    for name, site in drawn.items():
        if name not in names and not site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"the guide samples {name!r}, but the model does not; give both sites one name "
                f"(the model samples {sorted(names)}) or delete it from the guide"
            )
    observed = [site for site in sample_sites(model_trace) if site["is_observed"]]
    if all(is_deterministic(site) or is_training_factor(site) for site in observed):
        raise ValueError("the model observes nothing; give its data site obs=x")


def _check_same_shape(p: Any, q: Any) -> None:
    for kind in ("batch", "event"):
        shapes = [tuple(getattr(site["fn"], f"{kind}_shape")) for site in (p, q)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"latent {p['name']!r} has {kind} shape {shapes[0]} in the model but {shapes[1]} "
                "in the guide; make them agree (size of the latent, to_event, plates)"
            )


def _check_same_values(p: Any, q: Any) -> None:
    """Refuses densities with respect to two measures, such as on R^n and on a simplex in it."""
    kinds = [_kind_of_values(site["fn"]) for site in (p, q)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"latent {p['name']!r} has {kinds[0]} values in the model ({name_of(p['fn'])}) but "
            f"{kinds[1]} ones in the guide ({name_of(q['fn'])}), so their densities cannot be "
            "compared; give both distributions of one kind"
        )


def _kind_of_values(fn: Any) -> str:
    support = support_of(fn)
    named = {"_Simplex": "simplex", "_OneHot": "one-hot", "Sphere": "sphere", "_Sphere": "sphere"}
    return named.get(type(support).__name__, "discrete" if support.is_discrete else "real")


def check_site(role: str, site: Any) -> None:
    """Refuses a site whose value, density or shape cannot be right.

    Args:
        role: Whether it is of the "model" or the "guide".
        site: The site of its trace.
    """
    name, fn, value = site["name"], site["fn"], site["value"]
    event_shape = tuple(value.shape[value.dim() - len(fn.event_shape) :])
    # a batch of sequences may be cut to its longest
    is_cut = isinstance(fn, TokenSequences) and event_shape <= tuple(fn.event_shape)
    if event_shape != tuple(fn.event_shape) and not is_cut:
        raise ValueError(
            f"site {name!r} of the {role} has a value of event shape {event_shape}, but its "
            f"distribution is over {tuple(fn.event_shape)}; make the network's output fit the data"
        )
    _check_support(role, site)
    _check_repeated(site)
    log_prob = torch.as_tensor(scale_and_mask(fn.log_prob(value), mask=site["mask"]))
    if not log_prob.isfinite().all():
        raise ValueError(
            f"site {name!r} of the {role} has a log density that is not finite; look at the "
            f"parameters of its {name_of(fn)}"
        )
    try:
        check_site_shape({**site, "log_prob": log_prob}, max_plate_nesting=math.inf)
    except ValueError as error:
        raise ValueError(
            f"site {name!r} of the {role} has log densities of shape {tuple(log_prob.shape)}, but "
            f"its plates are {plates_of(site) or 'none'}: declare the dimensions of independent "
            'data with pyro.plate("data", len(x)) and those of one datum with .to_event(n)'
        ) from error


def _check_repeated(site: Any) -> None:
    """Refuses data that .to_event(n) takes out of their plate, which would count them N times."""
    event_shape = tuple(site["fn"].event_shape)
    batch_shape = site["value"].shape[: site["value"].dim() - len(event_shape)]
    for frame in site["cond_indep_stack"]:
        lacks = frame.vectorized and len(batch_shape) < -frame.dim
        if site["is_observed"] and lacks and event_shape[:1] == (frame.size,) and frame.size > 1:
            raise ValueError(
                f"site {site['name']!r} stands in plate {frame.name} ({frame.size}) but its value "
                f"has no dimension for it, so it is counted {frame.size} times; use "
                f".to_event({len(event_shape) - 1})"
            )


def _check_support(role: str, site: Any) -> None:
    fn, value = inner(site["fn"]), torch.as_tensor(site["value"])
    try:
        outside = ~fn.support.check(value)
    except NotImplementedError:  # distributions without a declared support
        return
    counts = which_count(site)
    outside = outside & (counts if counts.shape == outside.shape else _events(counts, outside))
    if not outside.any():
        return
    # For supports of whole events the first bad event stands for its first value.
    example = value[outside][0] if outside.shape == value.shape else value[outside].flatten()[0]
    binary = name_of(fn) == "Bernoulli" and 0 <= value.min() and value.max() <= 1
    raise ValueError(
        f"site {site['name']!r} of the {role} holds {example.item():.4g}, outside the support of "
        f"its {name_of(fn)}; "
        + (
            "binarize grey levels (binarize='dynamic'), or take a likelihood for them, such as "
            "ContinuousBernoulli or Normal"
            if binary
            else "take a distribution for such values, or transform them"
        )
    )


def _events(counts: Any, like: Any) -> Any:
    """Whether any number of an event counts, of the shape of one value for each event."""
    return counts.flatten(like.dim()).any(-1) if counts.dim() > like.dim() else counts


def plates_of(site: Any) -> list[str]:
    """The plates that a site stands in, with their sizes."""
    return [f"{frame.name} ({frame.size})" for frame in site["cond_indep_stack"]]


def name_of(fn: Any) -> str:
    """The class of a distribution, behind what Pyro wraps around it."""
    return type(inner(fn)).__name__
