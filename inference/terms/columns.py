"""Whether each datum has a bound of its own, as a sum over importance weights needs."""

from pyro_vae.factors import is_training_factor

from .plates import is_deterministic
from .runs import sample_sites
from .terms import Terms

__all__ = ["check_one_bound_each", "check_own_bounds"]


def check_own_bounds(t: Terms, user: str) -> None:
    """Refuses programs whose terms are no bound on the log p(x) of each datum.

    Latents that all data share are not looked at; who calls this decides about them.

    Args:
        t: The terms of a run.
        user: Who needs the bounds, for the sentence.

    Raises:
        ValueError: If a site is scaled otherwise than the data plate scales it, if the guide
            observes data, or if several plates may be that of the data.
    """
    check_one_bound_each(t, user)
    for trace in t.traces:
        for site in sample_sites(trace):
            _check_scale(t, site, user)


def check_one_bound_each(t: Terms, user: str) -> None:
    """Refuses programs of which it is not known which bound belongs to which datum.

    Args:
        t: The terms of a run.
        user: Who needs the bounds, for the sentence.

    Raises:
        ValueError: If the guide observes data, or if several plates may be that of the data.
    """
    if t.rivals:
        names = [f"{f.name!r} ({f.size})" for f in (t.layout.data, *t.rivals) if f is not None]
        raise ValueError(
            f"{user} needs a bound for each datum, but the data stand in plates "
            f"{' and '.join(names)}, and nothing says which of them numbers the data; call it "
            '"data"'
        )
    if t.observed_by_guide:
        raise ValueError(
            f"{user} needs a bound for each datum, but the guide observes "
            f"{', '.join(map(repr, t.observed_by_guide))}: less its log density there, the value "
            "is no bound; take the site out of the guide, which is given its value anyway"
        )


def _check_scale(t: Terms, site: dict[str, object], user: str) -> None:
    expected = t.scale if t.layout.is_local(site) else 1.0
    scale = site["scale"]
    if isinstance(scale, int | float) and scale == expected:
        return
    if is_deterministic(site) or is_training_factor(site):  # no part of the bound
        return
    raise ValueError(
        f"{user} is a bound for each datum, but site {site['name']!r} is scaled by {scale} where "
        f"the data plate accounts for {expected}; subsample the data plate only, vectorized, or "
        "use Trace_ELBO"
    )
