"""Weights of the latent sites, such as the beta of a hierarchy's upper layer, by their names."""

from collections.abc import Iterable, Mapping
from typing import Any

from .factor_weights import ByName, Weight, check_not_negative, is_weight

__all__ = ["SiteWeight", "SiteWeights", "all_at_least_one", "at_site", "by_site", "check_sites"]

SiteWeight = Weight | Mapping[str, Weight]  # one for all latent sites, or one for each, by name


class SiteWeights(ByName):
    """A number or a schedule for each of some latent sites.

    Args:
        weights: By the names of the sites.
        what: What they are, such as "beta of Trace_ELBO", for the sentence of an error.

    Raises:
        ValueError: If a name is no text, or a weight is negative, not finite or no number.
    """

    def __init__(self, weights: Mapping[str, Weight], what: str) -> None:
        super().__init__(weights)
        for name, weight in self.items():
            if not isinstance(name, str) or not is_weight(weight):
                raise ValueError(
                    f"{what} is {weight!r:.80} at the site {name!r}, but names are texts, and "
                    "weights finite numbers or schedules"
                )
            check_not_negative(f"{what} at {name!r}", weight)


def by_site(value: SiteWeight, what: str) -> SiteWeight:
    """The weight or weights, checked; a mapping becomes one that cannot be changed."""
    if isinstance(value, Mapping):
        return SiteWeights(value, what)
    check_not_negative(what, value)
    return value


def at_site(value: SiteWeight, site: str, otherwise: float) -> Weight:
    """The weight of a site; `otherwise` for one that a mapping does not name."""
    return value.get(site, otherwise) if isinstance(value, Mapping) else value


def all_at_least_one(value: SiteWeight) -> bool:
    """Whether it is known to be 1 or more at each site: a schedule and its value are not."""
    each = value.values() if isinstance(value, Mapping) else [value]
    return all(isinstance(weight, int | float) and weight >= 1 for weight in each)


def check_sites(weights: Any, sites: Iterable[str], what: str) -> None:
    """Refuses weights for sites that are no latents of the program.

    Args:
        weights: What may be a mapping by site.
        sites: The names of the latent sites that there are.
        what: What the weights are, for the sentence.
    """
    names = list(sites)
    unknown = (
        [name for name in weights if name not in names] if isinstance(weights, Mapping) else []
    )
    if unknown:
        raise ValueError(
            f"{what} names the sites {unknown}, but the latent sites of the program are {names}; "
            "name these"
        )
