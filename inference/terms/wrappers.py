"""What Pyro wraps around a distribution: events, expansions and masks."""

from typing import Any

from torch import Tensor

__all__ = ["event_masks", "inner"]

_WRAPPERS = ("ExpandedDistribution", "Independent", "MaskedDistribution")


def inner(fn: Any) -> Any:
    """A distribution over numbers, or events, as independent as they can be had."""
    while type(fn).__name__ in _WRAPPERS:
        fn = fn.base_dist
    return fn


def event_masks(fn: Any) -> list[tuple[Tensor | bool, int]]:
    """The masks in a distribution, each with the number of event dimensions that it lacks."""
    masks = []
    while type(fn).__name__ in _WRAPPERS:
        if type(fn).__name__ == "MaskedDistribution":
            masks.append((fn._mask, fn.event_dim))
        fn = fn.base_dist
    return masks
