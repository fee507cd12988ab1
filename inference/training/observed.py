"""Whether data lie in the support of the distribution of the site that observes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import constraints

from pyro_vae.inference.terms import Site, support_of

__all__ = ["Observed", "observed_parts"]


@dataclass(frozen=True)
class Observed:
    """An argument of model and guide that a site observes unchanged.

    Args:
        part: The number of the argument.
        site: The name of the site.
        distribution: The name of its distribution.
        support: Where each number, or vector, has a density, whatever the parameters.
    """

    part: int
    site: str
    distribution: str
    support: constraints.Constraint

    def check(self, batch: Sequence[Any]) -> None:
        """Refuses a batch with numbers outside the support.

        Without Pyro's validation, a Bernoulli would silently give 0.3 a density.
        """
        value = batch[self.part]
        inside = self.support.check(value)
        if not inside.all():
            first = value[~inside][0]
            shown = f"{first.item():.4g}" if not first.dim() else f"{first.tolist()!s:.60}"
            raise ValueError(
                f"site {self.site!r} observes {shown}, outside the support of its "
                f"{self.distribution}; take a distribution for such data, or transform them"
            )


def observed_parts(batch: Sequence[Any], sites: Iterable[Site]) -> list[Observed]:
    """The arguments that sites observe unchanged, where validation is on and the support is fixed.

    Args:
        batch: The arguments of model and guide.
        sites: The sites of the model's trace.
    """
    observed = []
    for site in sites:
        fn, support = site["fn"], support_of(site["fn"])
        while hasattr(fn, "base_dist"):
            fn = fn.base_dist
        fixed = all(isinstance(v, bool | int | float) for v in vars(support).values())
        checked = getattr(fn, "_validate_args", False) and support is not constraints.real
        if site["is_observed"] and fixed and checked:
            same = [_is_same(part, site["value"], support.event_dim) for part in batch]
            parts = [i for i, is_same in enumerate(same) if is_same]
            observed += [Observed(i, site["name"], type(fn).__name__, support) for i in parts[:1]]
    return observed


def _is_same(part: Any, value: Any, event_dim: int) -> bool:
    """Whether a value is the argument itself, in its shape or in one that keeps its vectors."""
    if not isinstance(part, Tensor) or not isinstance(value, Tensor):
        return False
    if event_dim and part.shape[-event_dim:] != value.shape[-event_dim:]:
        return False
    return part.data_ptr() == value.data_ptr() and part.numel() == value.numel()
