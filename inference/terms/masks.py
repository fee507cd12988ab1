"""Which numbers of the guide's draws are masked, by a handler around the site or by its mask()."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Independent, MaskedDistribution
from torch import Tensor

from .terms import Terms

__all__ = ["counted", "counted_numbers", "numbers_of"]


def counted(t: Terms, name: str) -> Tensor:
    """1 for each number of a latent that counts, and 0 if it is masked: (K N, D)."""
    ones = (_numbers(part, name, None) for part in t.parts)
    return torch.cat(list(ones)).to(t.log_px)


def numbers_of(t: Terms, name: str, values: Tensor) -> Tensor:
    """Values of each number of a latent, scaled and masked as it is: (K N, D).

    Args:
        t: The terms of one run.
        name: The latent's.
        values: In the shape of its draws.
    """
    return _numbers(t, name, values)


def _numbers(t: Terms, name: str, values: Tensor | None) -> Tensor:
    site = t.traces[1].nodes[name]
    numbers = counted_numbers(site)
    if values is not None:
        scale = torch.as_tensor(site["scale"]) / (t.scale if t.layout.holds(site) else 1.0)
        scale = _over_event(scale.to(values), site["fn"].event_dim)
        numbers = torch.where(numbers > 0, scale * values, 0.0)
    return t.layout.rows({**site, "value": numbers})


def counted_numbers(site: Mapping[str, Any]) -> Tensor:
    """1 or 0 in the shape of a site's draws."""
    fn = site["fn"]
    ones = torch.ones(fn.batch_shape + fn.event_shape, device=site["value"].device)
    ones = _masked(ones, site["mask"], fn.event_dim)
    while isinstance(fn, Independent | MaskedDistribution):
        if isinstance(fn, MaskedDistribution):
            ones = _masked(ones, fn._mask, fn.event_dim)
        fn = fn.base_dist
    return ones


def _masked(ones: Tensor, mask: Tensor | bool | None, event_dim: int) -> Tensor:
    if mask is None or mask is True:
        return ones
    if mask is False:
        return torch.zeros_like(ones)
    return ones * _over_event(mask, event_dim)


def _over_event(batch: Tensor, event_dim: int) -> Tensor:
    return batch[(..., *(None for _ in range(event_dim)))]
