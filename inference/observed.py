"""What a program observes of a batch as it is, and whether later batches lie where that may."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import constraints

from .layout import Site, support_of

__all__ = ["Observed", "observed_parts"]


@dataclass(frozen=True)
class Observed:
    """A part of the batches that a site observes unchanged.

    Args:
        part: Which of the parts.
        site: The name of the site.
        distribution: That of its distribution.
        support: The set that each number must lie in, whatever the parameters.
    """

    part: int
    site: str
    distribution: str
    support: constraints.Constraint

    def check(self, batch: Sequence[Any]) -> None:
        """Refuses numbers without a density: unchecked, Bernoulli takes 0.3 for what it is not."""
        value = batch[self.part]
        inside = self.support.check(value)
        if not inside.all():
            raise ValueError(
                f"site {self.site!r} observes {value[~inside][0].item():.4g}, outside the support "
                f"of its {self.distribution}; take a distribution for such data, or transform them"
            )


def observed_parts(batch: Sequence[Any], sites: Iterable[Site]) -> list[Observed]:
    """The parts of a batch that sites observe and check, with a support that stays as it is."""
    found = []
    for site in sites:
        fn, support = site["fn"], support_of(site["fn"])
        while hasattr(fn, "base_dist"):
            fn = fn.base_dist
        fixed = all(isinstance(v, bool | int | float) for v in vars(support).values())
        checked = getattr(fn, "_validate_args", False) and support is not constraints.real
        if site["is_observed"] and fixed and checked and not support.event_dim:
            parts = [i for i, part in enumerate(batch) if _is_same(part, site["value"])]
            found += [Observed(i, site["name"], type(fn).__name__, support) for i in parts[:1]]
    return found


def _is_same(part: Any, value: Any) -> bool:
    """Whether a value is the part itself, or the part in another shape."""
    if not isinstance(part, Tensor) or not isinstance(value, Tensor):
        return False
    return part.data_ptr() == value.data_ptr() and part.numel() == value.numel()
