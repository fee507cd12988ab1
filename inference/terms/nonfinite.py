"""Where a number that is not finite comes from."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from torch import Tensor

from .runs import sample_sites, traces

__all__ = ["explain_nonfinite"]


@torch.no_grad()
def explain_nonfinite(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    parameters: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> str:
    """One clause that names the first parameter or site with a value that is not finite."""
    for name, parameter in parameters.items():
        if not parameter.isfinite().all():
            return (
                f"the last update made parameter {name!r} non-finite; "
                "a lower learning rate or clip_norm helps"
            )
    with pyro.validation_enabled(False):
        try:
            sites = _sites(model, guide, args, kwargs)
        except Exception as error:  # a user's code may do anything with numbers such as these
            said = str(error).strip().splitlines() or [repr(error)]
            return f"another run of model and guide fails ({said[0]})"
        # Data first: a datum that is not finite makes all that follows so.
        for name, site in sorted(sites, key=lambda named: not named[1]["is_observed"]):
            if not torch.as_tensor(site["value"]).isfinite().all() and not _takes(site):
                return (
                    f"{name} has a {'datum' if site['is_observed'] else 'draw'} that is not finite"
                )
        for name, site in sites:
            if not _log_density(site).isfinite().all():
                return f"{name} has a log density that is not finite"
    return "no site of a second run shows it, so it is rare; a lower learning rate may help"


def _sites(
    model: Callable[..., Any], guide: Callable[..., Any], args: Any, kwargs: Any
) -> list[tuple[str, dict[str, Any]]]:
    """The sample sites of guide and model, each with words for it."""
    model_trace, guide_trace = traces(model, guide, args, kwargs)
    return [
        (f"site {site['name']!r} of the {role}", site)
        for role, trace in (("guide", guide_trace), ("model", model_trace))
        for site in sample_sites(trace)
    ]


def _takes(site: Mapping[str, Any]) -> bool:
    """Whether NaN stands for what is missing, and costs nothing."""
    return site["is_observed"] and bool(_log_density(site).isfinite().all())


def _log_density(site: Mapping[str, Any]) -> Tensor:
    """The log density at the site's value, where it is not masked out."""
    log_prob = torch.as_tensor(site["fn"].log_prob(site["value"]))
    if site["mask"] is None:
        return log_prob
    return log_prob.where(torch.as_tensor(site["mask"]), torch.zeros_like(log_prob))
