"""KL balancing between the latent sites of a hierarchy (Vahdat and Kautz, 2020, appendix A)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vae.inference.terms import Latent

from .factor_weights import number
from .site_weights import SiteWeights

__all__ = ["KLBalance", "coefficients", "read_balance"]

KLBalance = bool | Mapping[str, float]

_LEAST = 0.01  # nats: a site that has collapsed keeps a coefficient, as in the authors' code


def read_balance(value: Any, user: str) -> Any:
    """The argument `kl_balance`, checked; a mapping becomes one that cannot be changed.

    Raises:
        ValueError: If it is neither True, False nor a mapping of sites to positive numbers.
    """
    if isinstance(value, bool):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"kl_balance of {user} is {value!r:.80}, but must be True, which sizes the sites by "
            'their grids, or a mapping from sites to their sizes, such as {"z_1": 4.0}'
        )
    sizes = SiteWeights(value, f"kl_balance of {user}")
    for name, size in sizes.items():
        if callable(size) or size == 0:
            raise ValueError(
                f"kl_balance of {user} is {size!r:.80} at {name!r}, but a size is a number above 0"
            )
    return sizes


def coefficients(
    balance: KLBalance, latents: Mapping[str, Latent], kls: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The coefficient of each site, detached; their mean is 1.

        c_l = g_l / mean_j g_j,    g_l = (E|KL_l| + 0.01) / alpha_l

    A site whose KL is small beside its size alpha_l pays less for it. E is the mean over the batch.

    Args:
        balance: The alphas by site, 1 for those not named; or True for those of the grids.
        latents: The latents of each datum, by name.
        kls: Their KLs, (K, N).
    """
    alphas = balance if isinstance(balance, Mapping) else _by_grid(latents)
    g = [(kl.detach().abs().mean() + _LEAST) / number(alphas.get(n, 1.0)) for n, kl in kls.items()]
    each = torch.stack(g)
    return dict(zip(kls, each / each.mean(), strict=True))


def _by_grid(latents: Mapping[str, Latent]) -> dict[str, float]:
    """The positions of each site's grid, shared among the sites on a grid of this size.

    Four times as many for a grid twice as high and wide, as in the authors' code. The one position
    of a vector is the same for each.
    """
    positions = {name: math.prod(latent.q.event_shape[1:]) for name, latent in latents.items()}
    counts = list(positions.values())
    return {name: size / counts.count(size) for name, size in positions.items()}
