"""What Pyro wraps around a distribution: events, expansions and masks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["inner", "which_count"]

_WRAPPERS = ("ExpandedDistribution", "Independent", "MaskedDistribution")


def inner(fn: Any) -> Any:
    """A distribution over numbers, or events, as independent as they can be had."""
    while type(fn).__name__ in _WRAPPERS:
        fn = fn.base_dist
    return fn


def which_count(site: Mapping[str, Any]) -> Tensor:
    """Which numbers of a site's value count in its density, of the value's shape."""
    fn, value = site["fn"], torch.as_tensor(site["value"])
    masks = [(site["mask"], fn.event_dim)]
    while type(fn).__name__ in _WRAPPERS:
        if type(fn).__name__ == "MaskedDistribution":
            masks.append((fn._mask, fn.event_dim))
        fn = fn.base_dist
    found = torch.ones(value.shape, dtype=torch.bool, device=value.device)
    for mask, event_dim in masks:
        if mask is not None:
            mask = torch.as_tensor(mask, device=value.device)
            found = found & mask[(..., *[None] * event_dim)]
    return found
