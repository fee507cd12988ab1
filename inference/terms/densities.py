"""Whether the log densities of a run are what an estimator needs: exact, or estimates of bounds."""

from collections.abc import Sequence
from typing import Any

from pyro_vae.distributions import is_estimated

from .runs import sample_sites
from .wrappers import inner

__all__ = ["check_densities", "estimated_sites"]


def estimated_sites(trace: Any) -> list[str]:
    """The sites whose log density is an unbiased estimate of a lower bound, by name."""
    return [site["name"] for site in sample_sites(trace) if is_estimated(site["fn"])]


def check_densities(traces: Sequence[Any], user: str, *, linear: bool) -> None:
    """Refuses log densities that are estimates of lower bounds, where they would make no bound.

    Args:
        traces: Of the model and of the guide.
        user: Who needs the densities, for the sentence.
        linear: Whether what it computes is linear in the model's log densities.

    Raises:
        ValueError: If the guide has such a density, unless it is exact on average and `linear` is
            true; or if the model has and `linear` is false.
    """
    model, guide = traces
    for name in estimated_sites(guide):
        if linear and getattr(inner(guide.nodes[name]["fn"]), "is_exact_on_average", False):
            continue
        raise ValueError(
            f"{user} takes log q off, but that of site {name!r} of the guide "
            f"({_kind(guide, name)}) is an estimate, so that the value would be no bound; "
            "take a posterior whose density is known"
        )
    for name in estimated_sites(model) if not linear else []:
        raise ValueError(
            f"{user} is not linear in log p, but that of site {name!r} of the model "
            f"({_kind(model, name)}) is an unbiased estimate of a lower bound, of which only what "
            "is linear in it makes a bound; use Trace_ELBO without free bits and capacity, or "
            "evaluate"
        )


def _kind(trace: Any, name: str) -> str:
    return type(inner(trace.nodes[name]["fn"])).__name__
