"""What a program observes of a batch as it is, and whether later batches lie where that may."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import constraints

from pyro_vae.inference.terms import Site, support_of

__all__ = ["Observed", "observed_parts"]


@dataclass(frozen=True)
class Observed:
    """A part of the batches that a site observes unchanged.

    Args:
        part: Which of the parts.
        site: The name of the site.
        distribution: That of its distribution.
        support: The set that each number, or vector, must lie in, whatever the parameters.
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
            first = value[~inside][0]
            shown = f"{first.item():.4g}" if not first.dim() else f"{first.tolist()!s:.60}"
            raise ValueError(
                f"site {self.site!r} observes {shown}, outside the support of its "
                f"{self.distribution}; take a distribution for such data, or transform them"
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
        if site["is_observed"] and fixed and checked:
            same = [_is_same(part, site["value"], support.event_dim) for part in batch]
            parts = [i for i, is_same in enumerate(same) if is_same]
            found += [Observed(i, site["name"], type(fn).__name__, support) for i in parts[:1]]
    return found


def _is_same(part: Any, value: Any, event_dim: int) -> bool:
    """Whether a value is the part itself, or the part in another shape that keeps its vectors."""
    if not isinstance(part, Tensor) or not isinstance(value, Tensor):
        return False
    if event_dim and part.shape[-event_dim:] != value.shape[-event_dim:]:
        return False
    return part.data_ptr() == value.data_ptr() and part.numel() == value.numel()
